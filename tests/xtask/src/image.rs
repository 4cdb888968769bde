//! `cargo xtask image`: builds the container image without a container engine.
//!
//! Its content (`rootfs`) and its configuration (the last stage of the `Dockerfile`) are the same as with
//! `docker build`.

use std::{
    env::consts::{ARCH, OS},
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    components,
    repo::{Repo, exit_code_of, files_below, is_missing, run},
    suite,
    tools::AUDITABLE,
};

/// How the binary is built: as it is released, or quickly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Build {
    Release,
    /// For the tests: as all else that they run, so that build scripts and macros are compiled already.
    Test,
}

impl Build {
    pub(crate) fn new(quick: bool) -> Self {
        if quick { Self::Test } else { Self::Release }
    }

    fn profile(self) -> &'static str {
        match self {
            Self::Release => "release",
            Self::Test => "dev",
        }
    }
}

/// An image in a storage of its own, below `target/image`.
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) storage: PathBuf,
    /// The same image as one file.
    pub(crate) archive: PathBuf,
    /// The digest of its manifest.
    pub(crate) digest: String,
    /// The folder with its files.
    pub(crate) root: PathBuf,
}

/// What is optional in the binary and in all that is shipped: it costs too much to build it for each test.
pub(crate) const SHIPPED: &str = "--features=berth/aws-sdk-ec2";

/// Set where the task runner is called in the compiler's place.
const WRAPS: &str = "BERTH_IMAGE_WRAPS_RUSTC";

const ROOTFS: &str = "target/image/rootfs";
const COPY_FROM_BUILD: &str = "COPY --from=build /berth/target/image/rootfs/ /";

/// Where systems keep the bundle of root certificates.
const CERTIFICATES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

/// Puts together what the image holds.
pub(crate) fn rootfs(repo: &Repo, build: Build) -> Result<PathBuf> {
    ensure!(OS == "linux", "the image's files are made on Linux; elsewhere use `docker build .`");
    components::build(repo, false, true)?;
    let binary = binary(repo, build)?;

    let root = repo.path(ROOTFS);
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("could not remove {}", root.display()))?;
    }
    for (folder, mode) in [
        ("usr/bin", 0o755),
        ("usr/local/share/ca-certificates", 0o755),
        ("etc/ssl/certs", 0o755),
        ("etc/berth", 0o755),
        ("extra-plugins", 0o755),
        ("plugins", 0o755),
        // Whichever user the container is run as makes folders of their own here.
        ("var/lib/berth", 0o1777),
        ("tmp", 0o1777),
    ] {
        let path = root.join(folder);
        fs::create_dir_all(&path).with_context(|| format!("could not create {}", path.display()))?;
        set_mode(&path, mode)?;
    }
    copy(&binary, &root.join("usr/bin/berth"), 0o755)?;
    let certificates = CERTIFICATES.iter().map(Path::new).find(|file| file.is_file()).context(
        "this machine has no bundle of root certificates for the image: install `ca-certificates`",
    )?;
    copy(certificates, &root.join("etc/ssl/certs/ca-certificates.crt"), 0o644)?;
    for (file, text) in [
        ("etc/passwd", "root:x:0:0::/:/none\nberth:x:1001:1001::/var/lib/berth:/none\n"),
        ("etc/group", "root:x:0:\nberth:x:1001:\n"),
        // Names of the local network are looked up in files first, as everywhere.
        ("etc/nsswitch.conf", "hosts: files dns\n"),
    ] {
        fs::write(root.join(file), text).with_context(|| format!("could not write {file}"))?;
        set_mode(&root.join(file), 0o644)?;
    }
    let plugins = root.join("plugins");
    for component in files(&repo.path("target/components/plugins"))? {
        let name = component.file_name().context("a component has a name")?;
        copy(&component, &plugins.join(name), 0o644)?;
    }
    // By the binary itself: another one would have other code.
    let compiled = plugins.join("compiled");
    let mut compile = repo.command(root.join("usr/bin/berth"));
    compile.args(["plugin", "compile"]).arg(&compiled).arg("--plugins").arg(&plugins).env_clear();
    run(&mut compile)?;
    set_mode(&compiled, 0o755)?;
    for file in files(&compiled)? {
        set_mode(&file, 0o644)?;
    }
    println!("image: {} has {}", repo.shown(&root), shown(size(&root)?));
    Ok(root)
}

/// What is missing for building the image, and how to get it.
pub(crate) fn missing() -> Option<String> {
    if OS != "linux" {
        return Some("the image is built on Linux; elsewhere use `docker build .`".to_owned());
    }
    let there = |program: &str| {
        let started = Command::new(program).arg("--version").stdout(Stdio::null()).status();
        !started.is_err_and(|error| is_missing(&error))
    };
    [("buildah", "buildah"), ("musl-gcc", "musl-tools")].into_iter().find(|(program, _)| !there(program)).map(
        |(program, package)| {
            format!("`{program}` is missing: install it, as with `apt-get install {package}`")
        },
    )
}

/// Builds the image and keeps it as an archive, too.
pub(crate) fn build(repo: &Repo, build: Build) -> Result<Image> {
    if let Some(missing) = missing() {
        bail!("the image cannot be built here: {missing}");
    }
    let root = rootfs(repo, build)?;
    assemble(repo, &root, None)
}

/// Makes an image of its files. With an `epoch`, that is the time of everything in it.
pub(crate) fn assemble(repo: &Repo, root: &Path, epoch: Option<u64>) -> Result<Image> {
    let folder = repo.path("target/image");
    let archive = folder.join("berth.tar");
    let mut image = Image {
        name: "localhost/berth:dev".to_owned(),
        storage: folder.join("storage"),
        archive,
        digest: String::new(),
        root: root.to_owned(),
    };
    let file = folder.join("Dockerfile");
    let dockerfile = fs::read_to_string(repo.path("Dockerfile")).context("could not read the Dockerfile")?;
    fs::write(&file, last_stage(&dockerfile)?)
        .with_context(|| format!("could not write {}", file.display()))?;
    let mut bud = image.buildah(repo, "bud");
    bud.args(["--isolation=chroot", "--quiet", "--tag", &image.name]);
    bud.args(epoch.map(|epoch| format!("--timestamp={epoch}")));
    run(bud.arg("--file").arg(&file).arg(root))?;

    if image.archive.exists() {
        fs::remove_file(&image.archive)
            .with_context(|| format!("could not remove {}", image.archive.display()))?;
    }
    let digest = folder.join("digest");
    let mut push = image.buildah(repo, "push");
    push.args(["--quiet", "--digestfile"]).arg(&digest).arg(&image.name);
    push.arg(format!("oci-archive:{}", image.archive.display()));
    run(&mut push)?;
    image.digest = fs::read_to_string(&digest).context("buildah tells no digest")?;
    image.digest.truncate(image.digest.trim_end().len());
    let (whole, packed) =
        (size(root)?, fs::metadata(&image.archive).context("buildah left no archive")?.len());
    println!(
        "image: {} is {} ({} packed, in {}), digest {}",
        image.name,
        shown(whole),
        shown(packed),
        repo.shown(&image.archive),
        image.digest
    );
    Ok(image)
}

impl Image {
    /// A command of buildah, on this image's storage.
    fn buildah(&self, repo: &Repo, command: &str) -> Command {
        let mut buildah = repo.command("buildah");
        buildah.arg("--storage-driver=vfs");
        buildah.arg("--root").arg(&self.storage).arg("--runroot").arg(self.storage.with_extension("run"));
        buildah.arg(command);
        buildah
    }
}

/// A static binary: it needs nothing from the image.
fn binary(repo: &Repo, build: Build) -> Result<PathBuf> {
    let target = target()?;
    components::ensure_target(repo, &target)?;
    println!("image: building berth for {target} (profile {})", build.profile());
    let mut cargo = match build {
        Build::Release => cargo(repo, build, "build")?,
        Build::Test => cargo(repo, build, "rustc")?,
    };
    cargo.arg("--bin=berth");
    if build == Build::Release {
        // Where it is built must not show in it.
        let flags = serde_json::to_string(&components::without_paths(repo)?)?;
        cargo.arg("--config").arg(format!("target.{target}.rustflags={flags}"));
        // Nor when: the allocator's C code names its day and time of compilation. Always the same, so that
        // it matters not when a library was compiled that is still there.
        cargo.args(["--config", "env.SOURCE_DATE_EPOCH.value=\"0\""]);
        cargo.args(["--config", "env.SOURCE_DATE_EPOCH.force=true"]);
    }
    let arguments: &[&str] = match build {
        Build::Release => &[],
        // Without names it is smaller to put into an image. Asked of the compiler, for this one program: in a
        // profile it would have all else compiled anew.
        Build::Test => &["-Cstrip=symbols"],
    };
    let messages = suite::messages_of(cargo, arguments)?;
    suite::executable(&messages, "bin", "berth").context("cargo built no `berth`")
}

/// A command of cargo about the image's binary, or about what is compiled like it.
pub(crate) fn cargo(repo: &Repo, build: Build, command: &str) -> Result<Command> {
    let mut cargo = match build {
        // Scanners find in the binary which crates it was built from.
        Build::Release => AUDITABLE.command(repo)?,
        Build::Test => repo.cargo(),
    };
    match build {
        Build::Release => _ = cargo.arg("auditable"),
        Build::Test => _ = cargo.env("RUSTC_WRAPPER", repo.program()).env(WRAPS, "1"),
    }
    cargo.args([command, "--locked", "--package=berth", SHIPPED, "--target", &target()?]);
    cargo.args(["--profile", build.profile()]);
    Ok(cargo)
}

/// Runs the compiler, in whose place cargo called this program. `None` where it was called for another reason.
pub(crate) fn wrap_rustc() -> Option<ExitCode> {
    std::env::var_os(WRAPS)?;
    let mut arguments = std::env::args_os().skip(1);
    let rustc = arguments.next()?;
    let package = std::env::var("CARGO_PKG_NAME").unwrap_or_default();
    let mut command = match package.as_str() {
        "aws-sdk-ec2" => {
            // One of its 700 calls is used. No stable compiler takes this, and what is released has to do without.
            let mut command = Command::new(rustc);
            command.arg("-Zhint-mostly-unused").env("RUSTC_BOOTSTRAP", "1");
            command
        }
        "berth-aws" => {
            // What is compiled here alone is linted here alone, too.
            let mut command = Command::new("clippy-driver");
            command.arg(rustc).env("CLIPPY_ARGS", "-Dwarnings__CLIPPY_HACKERY__");
            command
        }
        _ => Command::new(rustc),
    };
    Some(exit_code_of(command.args(arguments)))
}

/// What the image's binary is compiled for.
pub(crate) fn target() -> Result<String> {
    match ARCH {
        "x86_64" | "aarch64" => Ok(format!("{ARCH}-unknown-linux-musl")),
        other => bail!("there is no image for {other}: only for x86_64 and aarch64"),
    }
}

/// The last stage, with the files of the build at hand.
fn last_stage(dockerfile: &str) -> Result<String> {
    let (_, stage) = dockerfile.rsplit_once("\nFROM ").context("the Dockerfile has no second stage")?;
    ensure!(stage.contains(COPY_FROM_BUILD), "the Dockerfile's last stage has no `{COPY_FROM_BUILD}`");
    Ok(format!("FROM {}", stage.replace(COPY_FROM_BUILD, "COPY . /")))
}

fn copy(from: &Path, to: &Path, mode: u32) -> Result<()> {
    fs::copy(from, to).with_context(|| format!("could not copy {} to {}", from.display(), to.display()))?;
    set_mode(to, mode)
}

#[cfg(unix)]
fn set_mode(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| format!("could not set the mode of {}", path.display()))
}

#[cfg(not(unix))]
fn set_mode(_: &Path, _: u32) -> Result<()> {
    Ok(())
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("could not list {}", folder.display()))?;
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> Result<u64> {
    files_below(folder)?.iter().map(|file| Ok(fs::metadata(file)?.len())).sum()
}

fn shown(bytes: u64) -> String {
    format!("{} MiB", bytes.div_ceil(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_stage_is_the_one_of_the_dockerfile() {
        let dockerfile = include_str!("../../../Dockerfile");
        let stage = last_stage(dockerfile).unwrap();
        assert!(stage.starts_with("FROM scratch\nCOPY . /\n"), "{stage}");
        assert!(stage.contains("USER 1001:1001") && stage.ends_with("CMD [\"run\"]\n"), "{stage}");
        assert!(last_stage("FROM a\nCOPY . /\n").is_err());
    }
}
