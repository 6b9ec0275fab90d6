//! What a person asks of a finished build beside its store, in pods with his own rights, and what he says of its shards.

use std::path::{Path, PathBuf};
use std::time::Duration;

use realsyn_dataset::formats::parquet::Limits;
use realsyn_dataset::formats::table::TableReader;
use realsyn_dataset::table_row;
use realsyn_e2e::S3Server;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Build;
use super::chaos::names_below;
use super::support::story::Story;

/// How long a build may take to look at its store and run a shard again.
const PATIENCE: Duration = Duration::from_secs(300);

/// One of three, and why it is left out.
const SHARD: [&str; 2] = ["documents/extract", "0"];
const WHY: &str = "upside down";

table_row! {
    /// What a release says of a pair.
    #[derive(Clone, Debug, Serialize, Deserialize)]
    pub struct Released {
        /// The picture.
        pub image_id: String,
        /// The first sentence that goes with it.
        pub text1_id: Option<String>,
    }
}

/// Runs every command that needs the store.
pub fn asks(story: &Story, build: &Build, digest: &str) {
    let said = tells(story, &["plan", "-f", build.file.to_str().unwrap()]);
    assert!(said.contains(" 0 stages to run"), "{said}");

    let pair = released(story, build);
    let (image, sentence) = (pair.image_id.as_str(), pair.text1_id.as_deref().unwrap());
    let of_release = |said: &str| {
        let line = said.lines().find(|line| line.starts_with(&format!("{}: ", build.release)));
        line.unwrap_or_else(|| panic!("{said}")).to_owned()
    };
    for (id, words) in
        [(image, "HOLDS it as the image of "), (sentence, "HOLDS it as "), (&"0".repeat(32), "does not hold it")]
    {
        let said = of_release(&tells(story, &["affected", id]));
        assert!(said.contains(words) && said.contains(&format!("(digest {}", &digest[..8])), "{id}: {said}");
    }
    let explain = |id: &str| tells(story, &["explain", id, "--build", &build.name]);
    let said = explain(image);
    assert!(said.contains(&format!("image {image}\n")) && said.contains("cosine"), "{said}");
    let said = explain(sentence);
    assert!(said.contains(&format!("sentence {sentence}\n")) && said.contains("perplexity"), "{said}");

    let before = names_below(&build.objects);
    let said = tells(story, &["gc", "--build", &build.name, "--dry-run"]);
    assert!(said.contains("named by") && said.contains(&build.name), "{said}");
    assert_eq!(names_below(&build.objects), before, "only shown");

    story.says("the store was asked");
    leaves_a_shard_out(story, build);
}

/// A shard is left out and taken back; the build is what it was.
fn leaves_a_shard_out(story: &Story, build: &Build) {
    let pool =
        || story.read(&["rsb", &build.name])["status"]["pools"].as_array().and_then(|pools| pools.last().cloned());
    let before = pool().expect("a pool");
    let of_build = ["--build", &build.name];
    let shard = |command: &str, why: &[&str]| story.plugin(&[&[command], &SHARD[..], why, &of_build].concat());
    let (done, said) = shard("reject", &[WHY]);
    assert!(!done && said.contains("`forget` it first"), "{said}");

    // Nothing runs it meanwhile.
    tells(story, &["suspend", &build.name]);
    let said = shard("forget", &[]);
    assert!(said.0 && said.1.contains("shard 0 is forgotten (it had "), "{}", said.1);
    let said = shard("reject", &[WHY]);
    assert!(said.0 && said.1.contains(&format!("shard 0 is rejected: {WHY}")), "{}", said.1);
    let said = shard("forget", &[]);
    assert!(said.0 && said.1.contains(&format!("it was rejected: {WHY}")), "{}", said.1);
    tells(story, &["resume", &build.name]);
    story.until(PATIENCE, "the build is Ready again", || story.condition(&build.name, "Ready")["status"] == "True");
    let after = pool().expect("a pool");
    let what = |pool: &Value| json!([pool["digest"], pool["pairs"]]);
    assert_eq!(what(&after), what(&before), "the same bytes again");
}

/// A pair of the release, as its own files say.
fn released(story: &Story, build: &Build) -> Released {
    let uri = story.read(&["rsr", &build.release])["status"]["uri"].as_str().unwrap_or_default().to_owned();
    let place = uri.strip_prefix(&format!("s3://{}/", S3Server::BUCKET)).unwrap_or_else(|| panic!("{uri}"));
    let folder: PathBuf = build.objects.parent().unwrap().join(place);
    let files = names_below(&folder);
    let file = files.iter().find(|name| name.ends_with(".parquet")).unwrap_or_else(|| panic!("{files:?}"));
    let bytes = std::fs::read(Path::new(file)).unwrap();
    let rows = TableReader::<Released>::open(bytes.into(), &Limits::default()).unwrap().group(0).unwrap();
    rows.into_iter().find(|row| row.text1_id.is_some()).expect("a pair with a sentence")
}

fn tells(story: &Story, arguments: &[&str]) -> String {
    let (done, said) = story.plugin(arguments);
    assert!(done, "{arguments:?}: {said}");
    said
}
