//! WASI preview 1, which the runtimes of some languages call; an adapter turns it into WASI 0.2.

use std::hint::black_box;

/// The functions of preview 1.
macro_rules! preview1 {
    ($($name:ident($($type:ty),*) $(-> $result:ty)?;)*) => {
        #[link(wasm_import_module = "wasi_snapshot_preview1")]
        unsafe extern "C" {
            $(
                #[doc = stringify!($name)]
                pub fn $name($(_: $type),*) $(-> $result)?;
            )*
        }
    };
}

preview1! {
    args_get(*mut u32, *mut u8) -> i32;
    args_sizes_get(*mut u32, *mut u32) -> i32;
    clock_res_get(u32, *mut u64) -> i32;
    clock_time_get(u32, u64, *mut u64) -> i32;
    environ_get(*mut u32, *mut u8) -> i32;
    environ_sizes_get(*mut u32, *mut u32) -> i32;
    fd_advise(u32, u64, u64, u32) -> i32;
    fd_allocate(u32, u64, u64) -> i32;
    fd_close(u32) -> i32;
    fd_datasync(u32) -> i32;
    fd_fdstat_get(u32, *mut u64) -> i32;
    fd_fdstat_set_flags(u32, u32) -> i32;
    fd_fdstat_set_rights(u32, u64, u64) -> i32;
    fd_filestat_get(u32, *mut u64) -> i32;
    fd_filestat_set_size(u32, u64) -> i32;
    fd_filestat_set_times(u32, u64, u64, u32) -> i32;
    fd_pread(u32, *const Piece, u32, u64, *mut u32) -> i32;
    fd_prestat_dir_name(u32, *mut u8, u32) -> i32;
    fd_prestat_get(u32, *mut u64) -> i32;
    fd_pwrite(u32, *const Piece, u32, u64, *mut u32) -> i32;
    fd_read(u32, *const Piece, u32, *mut u32) -> i32;
    fd_readdir(u32, *mut u8, u32, u64, *mut u32) -> i32;
    fd_renumber(u32, u32) -> i32;
    fd_seek(u32, i64, u32, *mut u64) -> i32;
    fd_sync(u32) -> i32;
    fd_tell(u32, *mut u64) -> i32;
    fd_write(u32, *const Piece, u32, *mut u32) -> i32;
    path_create_directory(u32, *const u8, u32) -> i32;
    path_filestat_get(u32, u32, *const u8, u32, *mut u64) -> i32;
    path_filestat_set_times(u32, u32, *const u8, u32, u64, u64, u32) -> i32;
    path_link(u32, u32, *const u8, u32, u32, *const u8, u32) -> i32;
    path_open(u32, u32, *const u8, u32, u32, u64, u64, u32, *mut u32) -> i32;
    path_readlink(u32, *const u8, u32, *mut u8, u32, *mut u32) -> i32;
    path_remove_directory(u32, *const u8, u32) -> i32;
    path_rename(u32, *const u8, u32, u32, *const u8, u32) -> i32;
    path_symlink(*const u8, u32, u32, *const u8, u32) -> i32;
    path_unlink_file(u32, *const u8, u32) -> i32;
    poll_oneoff(*const Subscription, *mut [u64; 4], u32, *mut u32) -> i32;
    proc_exit(i32);
    random_get(*mut u8, u32) -> i32;
    sched_yield() -> i32;
    sock_accept(u32, u32, *mut u32) -> i32;
    sock_recv(u32, *const Piece, u32, u32, *mut u32, *mut u32) -> i32;
    sock_send(u32, *const Piece, u32, u32, *mut u32) -> i32;
    sock_shutdown(u32, u32) -> i32;
}

/// A piece of memory.
#[repr(C)]
pub struct Piece(*const u8, usize);

/// What is waited for: here the clock.
#[repr(C)]
pub struct Subscription {
    userdata: u64,
    tag: u64,
    clock: u64,
    timeout: u64,
    precision: u64,
    flags: u64,
}

/// Does what the runtimes do when they start: looks for arguments, variables and folders, reads the clocks,
/// takes random numbers, sleeps, and prints. Gives what it found.
pub fn start() -> String {
    const BAD_DESCRIPTOR: i32 = 8;
    let (mut arguments, mut variables, mut size, mut time, mut seed) = (0, 0, 0, 0, [0; 16]);
    let mut words = [0; 4];
    let line = b"started\n";
    let sleep = Subscription { userdata: 0, tag: 0, clock: 1, timeout: 1_000_000, precision: 0, flags: 0 };
    // SAFETY: the pointers are to what preview 1 asks for, and live as long as the calls.
    unsafe {
        assert_eq!(args_sizes_get(&mut arguments, &mut size), 0);
        assert_eq!(environ_sizes_get(&mut variables, &mut size), 0);
        for stream in 0..3 {
            assert_eq!(fd_fdstat_get(stream, words.as_mut_ptr()), 0);
        }
        assert_eq!(fd_prestat_get(3, words.as_mut_ptr()), BAD_DESCRIPTOR);
        for clock in 0..2 {
            assert_eq!(clock_time_get(clock, 0, &mut time), 0);
            assert!(time > 0);
        }
        assert_eq!(random_get(seed.as_mut_ptr(), 16), 0);
        assert_ne!(seed, [0; 16]);
        assert_eq!(poll_oneoff(&sleep, &mut words, 1, &mut size), 0);
        assert_eq!(fd_write(1, &Piece(line.as_ptr(), line.len()), 1, &mut size), 0);
        assert_eq!(size as usize, line.len());
    }
    format!("{arguments} arguments, {variables} variables")
}

/// Keeps functions imported that are not called.
pub fn keep(functions: &[*const ()]) {
    black_box(functions);
}
