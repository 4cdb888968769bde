//! Imports what Go imports for `GOOS=wasip1`, through the adapter: the functions that `src/runtime/os_wasip1.go`,
//! `src/syscall/fs_wasip1.go`, `net_wasip1.go` and `os_wasip1.go` of golang/go name in `go:wasmimport`.

use support::preview1 as p1;

support::guest!("wasi-go", "Hostile::Go", |context, resources| {
    p1::keep(&[
        p1::args_get as *const (),
        p1::args_sizes_get as *const (),
        p1::clock_time_get as *const (),
        p1::environ_get as *const (),
        p1::environ_sizes_get as *const (),
        p1::fd_close as *const (),
        p1::fd_fdstat_get as *const (),
        p1::fd_fdstat_set_flags as *const (),
        p1::fd_fdstat_set_rights as *const (),
        p1::fd_filestat_get as *const (),
        p1::fd_filestat_set_size as *const (),
        p1::fd_pread as *const (),
        p1::fd_prestat_dir_name as *const (),
        p1::fd_prestat_get as *const (),
        p1::fd_pwrite as *const (),
        p1::fd_read as *const (),
        p1::fd_readdir as *const (),
        p1::fd_seek as *const (),
        p1::fd_sync as *const (),
        p1::fd_write as *const (),
        p1::path_create_directory as *const (),
        p1::path_filestat_get as *const (),
        p1::path_filestat_set_times as *const (),
        p1::path_link as *const (),
        p1::path_open as *const (),
        p1::path_readlink as *const (),
        p1::path_remove_directory as *const (),
        p1::path_rename as *const (),
        p1::path_symlink as *const (),
        p1::path_unlink_file as *const (),
        p1::poll_oneoff as *const (),
        p1::proc_exit as *const (),
        p1::random_get as *const (),
        p1::sched_yield as *const (),
        p1::sock_accept as *const (),
        p1::sock_shutdown as *const (),
    ]);
    let text = String::from_utf8_lossy(&resources).into_owned();
    let ids = support::values(&text, "Id");
    let found = p1::start();
    let answers: Vec<String> =
        ids.iter().map(|id| format!(r#"{{"Id": "{id}", "Name": "{found}"}}"#)).collect();
    Ok(support::map("wasi-go", answers.join(",").as_bytes(), context.output))
});
