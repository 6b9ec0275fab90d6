//! Images without a registry: archives in docker's format, which `ctr`, `buildah` and `podman` read.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::programs;

/// The image that holds a pod's namespaces.
pub const PAUSE: &str = "realsyn.dev/pause:1";

const PAUSE_SOURCE: &str = include_str!("../images/pause.c");
const BASE_SCRIPT: &str = include_str!("../images/base.sh");
const SEARCH_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Compiles the pause program into `folder` and returns its path.
pub(crate) fn build_pause(folder: &Path) -> Result<PathBuf> {
    let source = folder.join("pause.c");
    let program = folder.join("pause");
    fs::write(&source, PAUSE_SOURCE).with_context(|| format!("writing {}", source.display()))?;
    run(Command::new("gcc").args(["-Os", "-static", "-s", "-o"]).arg(&program).arg(&source))?;
    Ok(program)
}

/// Writes the pause image, named [`PAUSE`].
pub(crate) fn pause_image(program: &Path, archive: &Path) -> Result<()> {
    let layer = archive.with_extension("layer");
    let mut tar = tar::Builder::new(File::create(&layer).with_context(|| format!("creating {}", layer.display()))?);
    let mut header = tar::Header::new_gnu();
    let bytes = fs::read(program).with_context(|| format!("reading {}", program.display()))?;
    header.set_size(bytes.len() as u64);
    header.set_mode(0o755);
    header.set_cksum();
    tar.append_data(&mut header, "pause", bytes.as_slice())?;
    tar.into_inner()?.flush()?;
    write_archive(archive, PAUSE, &layer, &json!({ "Entrypoint": ["/pause"], "User": "65535:65535" }))
}

/// Writes an archive with a small Debian (libc, certificates, busybox as `/bin/sh` and friends) under the name that a
/// Dockerfile's `FROM` asks for. Takes the packages from where this machine takes its own.
pub fn base_image(name: &str, archive: &Path) -> Result<()> {
    let layer = archive.with_extension("layer");
    run(Command::new("bash").args(["-c", BASE_SCRIPT, "base.sh"]).arg(&layer))?;
    write_archive(archive, name, &layer, &json!({ "Env": [SEARCH_PATH], "Cmd": ["/bin/sh"] }))
}

/// Builds images from Dockerfiles, without a daemon and without a registry.
#[derive(Clone, Debug)]
pub struct Builder {
    store: PathBuf,
}

impl Builder {
    /// Keeps its layers in `store`, so that the next build there goes faster.
    pub fn new(store: &Path) -> Result<Self> {
        fs::create_dir_all(store).with_context(|| format!("creating {}", store.display()))?;
        Ok(Self { store: store.canonicalize()? })
    }

    /// Makes an image known to Dockerfiles: one that [`base_image`] wrote, say.
    pub fn load(&self, archive: &Path) -> Result<()> {
        run(self.buildah("pull").arg("--quiet").arg(format!("docker-archive:{}", archive.display())))
    }

    /// Builds `dockerfile` in the folder `context` and writes the image, under `name`, to `archive`. `arguments` are the
    /// Dockerfile's `ARG`s, as `NAME=value`.
    pub fn build(
        &self,
        context: &Path,
        dockerfile: &Path,
        arguments: &[&str],
        name: &str,
        archive: &Path,
    ) -> Result<()> {
        // Without namespaces of its own a build also works in a sandbox; `never`: there is no registry to ask.
        let mut build = self.buildah("build");
        build.args(["--quiet", "--layers", "--isolation", "chroot", "--pull-never", "--tag", name]);
        build.args(arguments.iter().flat_map(|argument| ["--build-arg", argument]));
        run(build.arg("--file").arg(dockerfile).arg(context))?;
        // buildah does not write over an archive.
        if archive.exists() {
            fs::remove_file(archive).with_context(|| format!("removing {}", archive.display()))?;
        }
        run(self.buildah("push").args(["--quiet", name]).arg(format!("docker-archive:{}:{name}", archive.display())))
    }

    fn buildah(&self, command: &str) -> Command {
        let mut buildah = Command::new("buildah");
        buildah.arg("--root").arg(self.store.join("layers")).arg("--runroot").arg(self.store.join("run")).arg(command);
        buildah
    }
}

/// Why images cannot be built here, in one sentence.
pub fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("building an image needs root".to_owned());
    }
    let programs = [("buildah", "buildah"), ("mmdebstrap", "mmdebstrap")];
    programs.into_iter().find_map(|(program, package)| programs::require(program, package).err()).map(|e| e.to_string())
}

/// Writes an archive of one image with one layer, and removes the layer's file.
fn write_archive(archive: &Path, name: &str, layer: &Path, config: &Value) -> Result<()> {
    let layer_digest = digest(&mut File::open(layer).with_context(|| format!("opening {}", layer.display()))?)?;
    let image = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer_digest}")] },
        // Docker's format wants one entry for each layer.
        "history": [{ "created_by": "realsyn-cluster" }],
    })
    .to_string();
    let image_name = format!("{}.json", digest(&mut image.as_bytes())?);
    let layer_name = format!("{layer_digest}.tar");
    let manifest = json!([{ "Config": image_name, "RepoTags": [name], "Layers": [layer_name] }]).to_string();

    let file = File::create(archive).with_context(|| format!("creating {}", archive.display()))?;
    let mut tar = tar::Builder::new(file);
    for (entry, text) in [(image_name.as_str(), &image), ("manifest.json", &manifest)] {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append_data(&mut header, entry, text.as_bytes())?;
    }
    tar.append_path_with_name(layer, &layer_name)?;
    tar.into_inner()?.flush()?;
    fs::remove_file(layer).with_context(|| format!("removing {}", layer.display()))
}

fn digest(reader: &mut impl Read) -> Result<String> {
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        let read = reader.read(&mut buffer)?;
        if read == 0 {
            return Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect());
        }
        hash.update(&buffer[..read]);
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("starting {:?}", command.get_program()))?;
    if !output.status.success() {
        bail!("{:?}: {}: {}", command.get_program(), output.status, String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
