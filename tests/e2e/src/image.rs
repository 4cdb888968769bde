//! The container image, run by buildah like by a container engine.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

/// A container of the image that `cargo xtask image` built.
pub struct Container {
    id: String,
    storage: PathBuf,
    config: Value,
}

impl Container {
    /// A container of the image under test.
    pub fn create() -> Self {
        let variable = |name: &str| env::var(name).expect("`cargo xtask test --all` builds the image");
        let (name, storage) =
            (variable("BERTH_TEST_IMAGE"), PathBuf::from(variable("BERTH_TEST_IMAGE_STORAGE")));
        let inspected = output(buildah(&storage).args(["inspect", "--type=image", &name]));
        let inspected: Value = serde_json::from_str(&inspected).expect("buildah prints JSON");
        let id = output(buildah(&storage).args(["from", "--pull=never", &name])).trim().to_owned();
        Self { id, storage, config: inspected["OCIv1"]["config"].clone() }
    }

    /// What the image says of how it is run.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// `docker run`: the entry point with these arguments, or with those of the image if there are
    /// none. Everything but the mounts and the variables is the image's own.
    pub(crate) fn run<'v>(
        &self,
        mounts: &[(&Path, &str)],
        variables: impl IntoIterator<Item = (&'v String, &'v String)>,
        arguments: &[&str],
    ) -> Command {
        // A mount takes the place of the image's own volume, as in `docker run`. buildah 1.28 has both on its
        // list and lets chance choose, so the volume is taken off the container first.
        let mut config = buildah(&self.storage);
        config.arg("config");
        for (_, to) in mounts {
            config.arg("--volume").arg(format!("{to}-"));
        }
        output(config.arg(&self.id));

        let mut run = buildah(&self.storage);
        run.args(["run", "--isolation=chroot"]);
        for (from, to) in mounts {
            run.arg("--volume").arg(format!("{}:{to}", from.display()));
        }
        for (name, value) in variables {
            run.arg("--env").arg(format!("{name}={value}"));
        }
        run.args([&self.id, "--"]).args(self.words("Entrypoint"));
        if arguments.is_empty() {
            run.args(self.words("Cmd"))
        } else {
            run.args(arguments)
        };
        run
    }

    fn words(&self, part: &str) -> Vec<String> {
        let words = self.config[part].as_array().expect("the image says how it is run");
        words.iter().map(|word| word.as_str().expect("a word").to_owned()).collect()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        // What is left over is removed with the storage.
        _ = buildah(&self.storage).args(["rm", &self.id]).stdout(Stdio::null()).status();
    }
}

fn buildah(storage: &Path) -> Command {
    let mut buildah = Command::new("buildah");
    buildah.arg("--storage-driver=vfs").arg("--root").arg(storage);
    buildah.arg("--runroot").arg(storage.with_extension("run"));
    buildah
}

fn output(command: &mut Command) -> String {
    let done = command.output().expect("buildah starts");
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("buildah prints UTF-8")
}
