//! `cargo xtask dist`: builds a release in `target/dist`: an archive with the binary and the bundled plugins, the
//! container image, and their checksums.
//!
//! The same sources give the same bytes on any machine at any time: paths of the machine are mapped to fixed ones,
//! and times are that of the last commit, or of `SOURCE_DATE_EPOCH`.

use std::{
    env::consts::OS,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};

use crate::{
    image,
    repo::{self, Repo, run},
    tools::CYCLONEDX,
};

const FOLDER: &str = "target/dist";
const SUMS: &str = "SHA256SUMS";
/// What stands beside the binary, from the repository.
const TEXTS: [&str; 4] = ["CHANGELOG.md", "LICENSE", "README.md", "examples/config/berth.toml"];

/// Makes everything, and with `verify` makes it once more from a clone elsewhere and compares.
pub(crate) fn run_all(repo: &Repo, verify: bool) -> Result<()> {
    let sums = make(repo)?;
    if verify {
        again(repo, &sums)?;
    }
    Ok(())
}

fn make(repo: &Repo) -> Result<String> {
    ensure!(OS == "linux", "releases are made on Linux");
    let epoch = epoch(repo)?;
    let folder = repo.path(FOLDER);
    if folder.exists() {
        fs::remove_dir_all(&folder).with_context(|| format!("could not remove {}", folder.display()))?;
    }
    fs::create_dir_all(&folder).with_context(|| format!("could not create {}", folder.display()))?;

    let root = image::rootfs(repo, image::Build::Release)?;
    let name = format!("berth-{}-{}", env!("CARGO_PKG_VERSION"), image::target()?);
    let mut files = vec![("bin/berth".to_owned(), root.join("usr/bin/berth"))];
    for path in repo::files_below(&root.join("plugins"))? {
        let inside = path.strip_prefix(root.join("plugins"))?.display().to_string();
        files.push((format!("lib/berth/plugins/{inside}"), path));
    }
    for text in TEXTS {
        let file = Path::new(text).file_name().context("a text has a name")?;
        files.push((file.to_string_lossy().into_owned(), repo.path(text)));
    }
    let archive = folder.join(format!("{name}.tar.gz"));
    pack(&archive, &name, files, epoch)?;
    let mut sums = sum(&archive)?;
    let materials = bill_of_materials(repo, &folder.join(format!("{name}.cdx.json")), epoch)?;
    sums += &sum(&materials)?;

    if let Some(missing) = image::missing() {
        println!("dist: no image: {missing}");
    } else {
        let built = image::assemble(repo, &root, Some(epoch))?;
        let image = folder.join(format!("{name}-image.tar"));
        repack(&built.archive, &image, epoch)?;
        sums += &sum(&image)?;
        println!("dist: the image's digest is {}", built.digest);
    }
    fs::write(folder.join(SUMS), &sums).with_context(|| format!("could not write {SUMS}"))?;
    print!("{sums}");
    println!("dist: all in {}", repo.shown(&folder));
    Ok(sums)
}

/// The same commit, cloned and built in another folder, with nothing of what was built here.
fn again(repo: &Repo, sums: &str) -> Result<()> {
    let changed = repo::output(repo.command("git").args(["status", "--porcelain"]))?;
    ensure!(changed.is_empty(), "there are changes that are not committed; only a commit can be built again");
    let elsewhere = tempfile::tempdir().context("could not create a temporary folder")?;
    let clone = elsewhere.path().join("another-folder");
    run(repo.command("git").args(["clone", "--quiet", "--no-hardlinks", "."]).arg(&clone))?;
    let mut dist = repo.guest_cargo(&clone);
    run(dist.args(["xtask", "dist"]))?;
    let other = fs::read_to_string(clone.join(FOLDER).join(SUMS)).context("the second build left no sums")?;
    if other != sums {
        let kept = elsewhere.keep();
        bail!("the second build, in {}, differs:\n{sums}---\n{other}", kept.display());
    }
    println!("dist: a second build, from a clone in another folder, gives the same bytes");
    Ok(())
}

/// What the binary was built from, in the form of `CycloneDX`.
fn bill_of_materials(repo: &Repo, file: &Path, epoch: u64) -> Result<PathBuf> {
    // It writes beside each manifest of the workspace; only the binary's is wanted.
    const NAME: &str = "berth.cdx";
    let mut list = CYCLONEDX.command(repo)?;
    list.args(["cyclonedx", "--format", "json", "--override-filename", NAME]);
    list.args(["--spec-version", "1.5", "--target", &image::target()?, image::SHIPPED, "--manifest-path"]);
    // Gives neither a random number nor another time.
    run(list.arg(repo.path("host/cli/Cargo.toml")).env("SOURCE_DATE_EPOCH", epoch.to_string()))?;
    let written = repo.path("host/cli").join(format!("{NAME}.json"));
    let list =
        fs::read_to_string(&written).with_context(|| format!("could not read {}", written.display()))?;
    fs::write(file, without_root(&list, &repo.path("")))
        .with_context(|| format!("could not write {}", file.display()))?;
    for manifest in
        repo::files_below(&repo.path("host"))?.into_iter().chain(repo::files_below(&repo.path("tests"))?)
    {
        if manifest.file_name().is_some_and(|name| name == "berth.cdx.json") {
            fs::remove_file(&manifest).with_context(|| format!("could not remove {}", manifest.display()))?;
        }
    }
    Ok(file.to_owned())
}

/// The same list wherever it was made: the crates of this repository are named by their paths.
fn without_root(list: &str, root: &Path) -> String {
    let root = root.to_string_lossy();
    list.replace(root.trim_end_matches('/'), "/berth")
}

/// Seconds since 1970 that stand for the time of the build.
fn epoch(repo: &Repo) -> Result<u64> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text,
        Err(_) => repo::output(repo.command("git").args(["log", "-1", "--format=%ct"]))?,
    };
    text.trim().parse().with_context(|| format!("`{}` are no seconds since 1970", text.trim()))
}

/// An archive whose bytes depend on the files' names and contents alone.
fn pack(archive: &Path, folder: &str, mut files: Vec<(String, PathBuf)>, epoch: u64) -> Result<()> {
    files.sort();
    let file = File::create(archive).with_context(|| format!("could not create {}", archive.display()))?;
    let packed = GzBuilder::new().mtime(0).write(io::BufWriter::new(file), Compression::best());
    let mut tar = tar::Builder::new(packed);
    for (name, path) in files {
        let bytes = fs::read(&path).with_context(|| format!("could not read {}", path.display()))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(if name.starts_with("bin/") { 0o755 } else { 0o644 });
        header.set_mtime(epoch);
        header.set_uid(0);
        header.set_gid(0);
        tar.append_data(&mut header, format!("{folder}/{name}"), bytes.as_slice())
            .with_context(|| format!("could not pack {name}"))?;
    }
    let written = tar.into_inner().and_then(flate2::write::GzEncoder::finish);
    written
        .and_then(|mut file| file.flush())
        .with_context(|| format!("could not write {}", archive.display()))
}

/// The same archive with another time: that of the image's own archive is when it was written.
fn repack(from: &Path, to: &Path, epoch: u64) -> Result<()> {
    let (reading, writing) =
        (|| format!("could not read {}", from.display()), || format!("could not write {}", to.display()));
    let mut archive = tar::Archive::new(io::BufReader::new(File::open(from).with_context(reading)?));
    let mut tar = tar::Builder::new(io::BufWriter::new(File::create(to).with_context(writing)?));
    for entry in archive.entries().with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let mut header = entry.header().clone();
        header.set_mtime(epoch);
        let path = entry.path().with_context(reading)?.into_owned();
        tar.append_data(&mut header, path, entry).with_context(writing)?;
    }
    tar.into_inner().and_then(|mut file| file.flush()).with_context(writing)
}

/// A line as `sha256sum` prints it.
fn sum(file: &Path) -> Result<String> {
    let mut digest = Sha256::new();
    let mut opened = File::open(file).with_context(|| format!("could not open {}", file.display()))?;
    io::copy(&mut opened, &mut digest).with_context(|| format!("could not read {}", file.display()))?;
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!("{:x}  {name}\n", digest.finalize()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_of_crates_does_not_say_where_it_was_made() {
        let list = |root: &str| format!(r#"{{"bom-ref": "path+file://{root}/host/cli#berth@0.1.0"}}"#);
        let here = without_root(&list("/somewhere/berth"), Path::new("/somewhere/berth/"));
        assert_eq!(here, without_root(&list("/another-folder"), Path::new("/another-folder")));
        assert!(!here.contains("/somewhere"), "{here}");
    }

    #[test]
    fn an_archive_that_another_tool_packed_keeps_all_but_its_time() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let long = format!("blobs/sha256/{}", "a".repeat(120));
        for (name, time) in [("one.tar", 7), ("two.tar", 8)] {
            let mut tar = tar::Builder::new(File::create(at(name)).unwrap());
            for (path, mode, content) in
                [("blobs/", 0o755, ""), (&long, 0o644, "layer"), ("index.json", 0o644, "{}")]
            {
                let mut header = tar::Header::new_gnu();
                header.set_size(content.len() as u64);
                header.set_mode(mode);
                header.set_mtime(time);
                if path.ends_with('/') {
                    header.set_entry_type(tar::EntryType::Directory);
                }
                tar.append_data(&mut header, path, content.as_bytes()).unwrap();
            }
            tar.into_inner().unwrap();
            repack(&at(name), &at(&format!("again-{name}")), 9).unwrap();
        }
        assert_eq!(fs::read(at("again-one.tar")).unwrap(), fs::read(at("again-two.tar")).unwrap());
        let mut again = tar::Archive::new(File::open(at("again-one.tar")).unwrap());
        let entries: Vec<(String, u32, u64, String)> = again
            .entries()
            .unwrap()
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut content = String::new();
                io::Read::read_to_string(&mut entry, &mut content).unwrap();
                let path = entry.path().unwrap().display().to_string();
                (path, entry.header().mode().unwrap(), entry.header().mtime().unwrap(), content)
            })
            .collect();
        let expected = [("blobs/", 0o755, ""), (&long, 0o644, "layer"), ("index.json", 0o644, "{}")];
        assert_eq!(
            entries,
            expected.map(|(path, mode, content)| (path.to_owned(), mode, 9, content.to_owned()))
        );
    }

    #[test]
    fn an_archive_is_the_same_whenever_it_is_packed() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("plugins")).unwrap();
        fs::write(at("plugins/b.wasm"), "b").unwrap();
        fs::write(at("berth"), "binary").unwrap();
        let files =
            || vec![("lib/b.wasm".to_owned(), at("plugins/b.wasm")), ("bin/berth".to_owned(), at("berth"))];
        pack(&at("one.tar.gz"), "berth-1", files(), 7).unwrap();
        // Read in another order, and touched.
        fs::write(at("berth"), "binary").unwrap();
        pack(&at("two.tar.gz"), "berth-1", files().into_iter().rev().collect(), 7).unwrap();
        assert_eq!(fs::read(at("one.tar.gz")).unwrap(), fs::read(at("two.tar.gz")).unwrap());
        assert_eq!(sum(&at("one.tar.gz")).unwrap().split("  ").nth(1), Some("one.tar.gz\n"));

        let unpacked = flate2::read::GzDecoder::new(File::open(at("one.tar.gz")).unwrap());
        let mut tar = tar::Archive::new(unpacked);
        let entries: Vec<(String, u32, u64)> = tar
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let path = entry.path().unwrap().display().to_string();
                (path, entry.header().mode().unwrap(), entry.header().mtime().unwrap())
            })
            .collect();
        let expected = [("berth-1/bin/berth", 0o755, 7), ("berth-1/lib/b.wasm", 0o644, 7)];
        assert_eq!(entries, expected.map(|(path, mode, time)| (path.to_owned(), mode, time)));
    }
}
