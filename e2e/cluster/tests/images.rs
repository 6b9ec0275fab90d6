//! Images from Dockerfiles, without a registry: needs root, buildah, mmdebstrap and the machine's package source.

use std::fs;
use std::process::Command;

use realsyn_cluster::{images, skip};

const DOCKERFILE: &str = "
FROM realsyn.dev/base:build-test
ARG GREETING
RUN echo \"$GREETING from $(basename $0)\" > /greeting
USER 65534
ENTRYPOINT [\"cat\", \"/greeting\"]
";

#[test]
fn a_dockerfile_builds_on_the_base_image() {
    if skip("a_dockerfile_builds_on_the_base_image", images::missing()) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    images::base_image("realsyn.dev/base:build-test", &path("base.tar")).unwrap();
    fs::create_dir(path("context")).unwrap();
    fs::write(path("context/Dockerfile"), DOCKERFILE).unwrap();

    let builder = images::Builder::new(&path("store")).unwrap();
    builder.load(&path("base.tar")).unwrap();
    let dockerfile = path("context/Dockerfile");
    let name = "realsyn.dev/built:test";
    for _again in 0..2 {
        builder.build(&path("context"), &dockerfile, &["GREETING=hello"], name, &path("built.tar")).unwrap();
    }

    let listing = Command::new("tar").arg("xOf").arg(path("built.tar")).arg("manifest.json").output().unwrap();
    assert!(String::from_utf8(listing.stdout).unwrap().contains(name));
    // The last layer holds the file that the RUN line wrote.
    let layers = Command::new("tar").arg("xf").arg(path("built.tar")).arg("-C").arg(folder.path()).status().unwrap();
    assert!(layers.success());
    let written = fs::read_dir(folder.path()).unwrap().filter_map(|entry| {
        let layer = entry.unwrap().path();
        let output = Command::new("tar").arg("xOf").arg(&layer).arg("greeting").output().unwrap();
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    });
    assert_eq!(written.collect::<Vec<_>>(), ["hello from sh\n"]);
}
