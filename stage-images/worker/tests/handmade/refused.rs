//! What cannot work stops the build before any stage, with a sentence that says what to do: lists, models that are not what their
//! stages need, places that cannot be written.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use realsyn_e2e::{Fault, FaultProxy, S3Server, Seen};

use crate::corpus::{Handmade, TOLERANT, page};

fn small() -> Option<Handmade> {
    let handmade = Handmade::new(&[page(None, &["https://one.example/a.jpg"], &["A dog runs over the green field."])])?;
    handmade.photograph("a.jpg", 0);
    Some(handmade)
}

/// What the build says; it must fail, and no stage have begun.
fn refused(handmade: &Handmade) -> String {
    let said = format!("{:#}", handmade.build().expect_err("it was accepted"));
    assert!(!handmade.has_run(), "a stage ran: {said}");
    said
}

#[test]
fn a_list_that_cannot_be_used_is_named_with_its_setting() {
    let Some(handmade) = small() else { return };
    let ids = handmade.list("ids.txt", "# blocked\n0123456789abcdef0123456789abcdef\n");
    let not_ids = handmade.list("not-ids.txt", "0123\n");
    let hosts = handmade.list("hosts.txt", "fine.example\nhttps://images.example/\n");
    let takedowns = handmade.list("takedowns.txt", "host:images.example\ndomain:images.example\n");
    std::fs::write(handmade.folder.path().join("latin1.txt"), b"caf\xe9\n").unwrap();
    let sha256 = realsyn_models::file_sha256(&handmade.folder.path().join("latin1.txt")).unwrap();
    let latin1 = format!("{{uri: latin1.txt, sha256: \"{sha256}\"}}");
    let gone = ids.replace("ids.txt", "gone.txt");
    let other = format!("{{uri: ids.txt, sha256: \"{}\"}}", "0".repeat(64));
    for (stages, spec, release, wanted) in [
        (format!("    imagePolicy: {{blockedImages: {gone}}}\n"), "", "", "gone.txt cannot be read"),
        (format!("    imagePolicy: {{blockedImages: {other}}}\n"), "", "", "correct one of them"),
        (
            format!("    imagePolicy: {{blockedImages: {not_ids}}}\n"),
            "",
            "",
            "not-ids.txt: `0123` is not an id: write its 32",
        ),
        (
            format!("    imagePolicy: {{evaluationSets: [{ids}, {not_ids}]}}\n"),
            "",
            "",
            "spec.stages.imagePolicy: the list not-ids",
        ),
        (
            format!("    imagePolicy: {{blockedHosts: {hosts}}}\n"),
            "",
            "",
            "`https://images.example/` is not a host: write its name",
        ),
        (
            format!("    tagVocab: {{vocabulary: {latin1}}}\n"),
            "",
            "",
            "spec.stages.tagVocab.vocabulary: the list latin1.txt is not UTF-8",
        ),
        (
            String::new(),
            takedowns.as_str(),
            "",
            "spec.takedowns: the list takedowns.txt: `domain:images.example` is not understood",
        ),
        (String::new(), "", takedowns.as_str(), "release r: spec.takedowns: the list takedowns.txt"),
    ] {
        let field = |list: &str| if list.is_empty() { String::new() } else { format!("  takedowns: {list}\n") };
        handmade.manifest(&format!("{TOLERANT}{stages}"), &field(spec), &[("r", &field(release))]);
        let said = refused(&handmade);
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
}

#[test]
fn a_model_or_number_format_that_this_worker_would_not_use_is_refused() {
    let Some(handmade) = small() else { return };
    handmade.manifest(TOLERANT, "", &[]);
    let file = handmade.folder.path().join("build.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let sha256 = realsyn_models::folder_sha256(&handmade.models.join("demo-clip")).unwrap();
    for (change, wanted) in [
        (
            format!("    captioner: {{sha256: \"{sha256}\"}}\n    clip:"),
            "spec.models.captioner: this worker makes captions of models.clip",
        ),
        (
            format!("    tagger: {{sha256: \"{sha256}\"}}\n    clip:"),
            "spec.models.tagger: this worker makes tags of models.clip",
        ),
    ] {
        std::fs::write(&file, text.replacen("    clip:", &change, 1)).unwrap();
        let said = refused(&handmade);
        assert!(said.contains(wanted) && said.contains("leave it out"), "{said}");
    }
    for (role, dtype) in [("clip", "f16"), ("perplexity", "bf16"), ("llm", "bf16")] {
        let own = format!("    {role}: {{");
        std::fs::write(&file, text.replacen(&own, &format!("{own}dtype: {dtype}, "), 1)).unwrap();
        let said = refused(&handmade);
        assert!(
            said.contains(&format!("spec.models.{role}.dtype: this worker computes it in f32, not in \"{dtype}\"")),
            "{said}"
        );
    }
}

/// A copy of the models of which one file has `from` where the real one has `to`; both are equally long.
fn with_bytes(handmade: &Handmade, name: &str, from: &[u8], to: &[u8]) -> PathBuf {
    let folder = handmade.folder.path().join("models");
    _ = std::fs::remove_dir_all(&folder);
    let copied = Command::new("cp").arg("-rL").arg(&handmade.models).arg(&folder).status().unwrap();
    assert!(copied.success());
    let file = folder.join(name);
    let mut bytes = std::fs::read(&file).unwrap();
    let at = bytes.windows(from.len()).position(|part| part == from).expect("it is in the file");
    bytes[at..at + to.len()].copy_from_slice(to);
    std::fs::write(&file, bytes).unwrap();
    folder
}

#[test]
fn a_model_that_has_its_hash_and_lacks_a_tensor_is_refused() {
    let Some(mut handmade) = small() else { return };
    let (text, language) =
        ("demo-clip/text/model.safetensors", "smollm2-135m-instruct/SmolLM2-135M-Instruct.Q4_1.gguf");
    let labels = "demo-clip/image/imagenet1k_clean_names.json";
    let whole = handmade.models.clone();
    for (file, from, to, wanted) in [
        (text, "encoder.layer.3.intermediate.dense.bias", "encoder.layer.3.intermediate.dense.bios", "models.clip: "),
        (language, "blk.7.ffn_up.weight", "blk.7.ffn_UP.weight", "tensor `blk.7.ffn_up.weight` is missing"),
        (language, "llama.block_count", "llama.block_COUNT", "the setting `llama.block_count` is missing"),
        (labels, "[", "?", "imagenet1k_clean_names.json"),
    ] {
        handmade.models = whole.clone();
        handmade.models = with_bytes(&handmade, file, from.as_bytes(), to.as_bytes());
        handmade.manifest(TOLERANT, "", &[]);
        let said = refused(&handmade);
        assert!(said.contains(wanted), "{wanted}: {said}");
    }
    // A server loads its own model, whatever that is.
    handmade.manifest(&TOLERANT.replace("generate: {", "generate: {engine: openai, "), "", &[]);
    let said = refused(&handmade);
    assert!(said.contains("spec.stages.generate.endpoint"), "{said}");
}

/// Runs the binary with the keys of the server of the tests. It must fail; what it said.
fn refused_on_s3(handmade: &Handmade, endpoint: &str, out: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_realsyn"))
        .args(["build", "-f", "build.yaml", "--models"])
        .arg(&handmade.models)
        .args(["--endpoint", endpoint, "--out"])
        .arg(out)
        .current_dir(handmade.folder.path())
        .env("AWS_ACCESS_KEY_ID", S3Server::ACCESS_KEY)
        .env("AWS_SECRET_ACCESS_KEY", S3Server::SECRET_KEY)
        .env("AWS_REGION", "us-east-1")
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && !said.contains("panicked"), "{said}");
    said
}

/// Address of a store without an object that says yes to every put, whatever its conditions.
fn yes_man() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut request, mut line, mut length) = (String::new(), String::new(), 0);
            while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
                let lower = line.to_ascii_lowercase();
                length = lower.strip_prefix("content-length:").map_or(length, |n| n.trim().parse().unwrap());
                request += &std::mem::take(&mut line);
            }
            _ = reader.read_exact(&mut vec![0; length]);
            let answer = if request.starts_with("PUT") { "200 OK" } else { "404 Not Found" };
            let head = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            _ = reader.get_mut().write_all(head.as_bytes());
        }
    });
    format!("http://{address}")
}

#[test]
fn a_store_or_destination_without_conditional_puts_or_rights_is_refused() {
    let Some(handmade) = small() else { return };
    let folder = tempfile::tempdir().unwrap();
    let server = S3Server::start(folder.path()).unwrap();
    let forgetful = yes_man();
    let denying =
        FaultProxy::start(
            server.address(),
            |seen: &Seen| if seen.method == "PUT" { Fault::Answer(403) } else { Fault::None },
        )
        .unwrap();

    for (endpoint, wanted) in
        [(forgetful, "use a store with conditional writes"), (denying.endpoint(), "the service answered 403")]
    {
        let in_bucket = PathBuf::from(format!("s3://{}/{}", S3Server::BUCKET, "builds"));
        handmade.manifest(TOLERANT, "", &[("r", "")]);
        let said = refused_on_s3(&handmade, &endpoint, &in_bucket);
        assert!(said.contains(wanted) && said.contains("builds/_probe-"), "{said}");
        assert!(!folder.path().join(S3Server::BUCKET).join("builds/documents").exists());

        let to = format!("  destination: {{uri: \"s3://{}/published\"}}\n", S3Server::BUCKET);
        handmade.manifest(TOLERANT, "", &[("r", &to)]);
        let said = refused_on_s3(&handmade, &endpoint, &handmade.folder.path().join("out"));
        assert!(said.contains("release r: spec.destination") && said.contains(wanted), "{said}");
        assert!(!handmade.has_run(), "a stage ran: {said}");
    }

    // On a disk: the place is a file.
    std::fs::write(handmade.folder.path().join("taken"), "a file").unwrap();
    handmade.manifest(TOLERANT, "", &[("r", "  destination: {uri: taken}\n")]);
    let said = refused(&handmade);
    assert!(said.contains("release r: spec.destination") && said.contains("taken"), "{said}");
}
