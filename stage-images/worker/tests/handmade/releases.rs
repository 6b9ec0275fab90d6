//! Releases of one pool: what a takedown takes with it, how a band is read, what a format holds, and what the card says.

use std::collections::{BTreeMap, HashMap};

use realsyn_dataset::formats::parquet::Limits;
use realsyn_dataset::formats::table::read_table;
use realsyn_dataset::table_row;
use realsyn_plan::Id;
use realsyn_plan::graph::ids;
use realsyn_plan::recipe::pool_digest;
use realsyn_worker::stages::publish::ReleaseManifest;
use realsyn_worker::stages::release::BandRow;
use realsyn_worker::stages::rows::{Dropped, Pair};
use serde::{Deserialize, Serialize};

use crate::corpus::{HOSTS, Handmade, TOLERANT, page, rows};

const ALL: &str = "  similarity: {low: -1, high: 1}\n";
const LICENCE: &str = "https://licences.example/by/4.0/";
const SENTENCES: [&str; 10] = [
    "A brown dog runs over the wet green field behind the house.",
    "Two ships leave the harbour in the evening light.",
    "The telescope on the mountain looks at a distant galaxy.",
    "Many people walk through the old town on market day.",
    "A bright nebula glows red where new stars are born.",
    "The planet has two small moons and a thin atmosphere.",
    "Workers build a long stone bridge across the river.",
    "An astronaut floats above the blue curve of the earth.",
    "The president speaks to a crowd in front of the white building.",
    "Cold winter wind blows snow against the wooden door.",
];

table_row! {
    /// What a release says of a pair.
    #[derive(Debug, Serialize, Deserialize)]
    struct Row {
        image_id: Id,
        text1_id: Option<Id>,
        text2_id: Option<Id>,
        syn_text: String,
    }
}

/// The pairs of a release, by their images.
fn released(manifest: &ReleaseManifest) -> BTreeMap<Id, Row> {
    let files = manifest.files.iter().filter(|file| file.name.ends_with(".parquet"));
    let bytes = files.map(|file| std::fs::read(format!("{}/{}", manifest.uri, file.name)).unwrap());
    let rows = bytes.flat_map(|bytes| read_table::<Row>(bytes.into(), &Limits::default()).unwrap());
    rows.map(|row| (row.image_id, row)).collect()
}

#[test]
fn takedowns_bands_formats_and_the_card() {
    let [one, two, _] = HOSTS;
    // One picture stands in two places, and one sentence on two pages.
    let urls = [(one, "a"), (one, "b"), (one, "c"), (one, "d"), (two, "d"), (one, "e"), (one, "f")];
    let urls: Vec<String> = urls.iter().map(|(host, name)| format!("{host}{name}.jpg")).collect();
    let urls: Vec<&str> = urls.iter().map(String::as_str).collect();
    let pages = [page(Some(LICENCE), &urls[..4], &SENTENCES), page(None, &urls[4..], &[SENTENCES[0]])];
    let Some(handmade) = Handmade::new(&pages) else { return };
    let names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg", "e.jpg", "f.jpg"];
    let pictures: Vec<Id> = names.iter().enumerate().map(|(n, name)| handmade.photograph(name, n)).collect();
    handmade.manifest(TOLERANT, "", &[("all", ALL)]);
    let outcome = handmade.build().unwrap();
    let all = released(&outcome.releases[0].1);
    let run = handmade.sealed(Some("all"));
    let pool = pool_digest(&run.seals).unwrap();
    let pairs: HashMap<Id, Pair> =
        rows::<Pair>(&run, ids::PAIRS, "pairs").into_iter().map(|pair| (pair.image, pair)).collect();
    assert_eq!(all.keys().collect::<Vec<_>>().len(), pairs.len());
    assert!(pairs.len() >= 4, "{:?}", rows::<Dropped>(&run, ids::PAIRS, "dropped"));
    assert_eq!(pairs[&pictures[3]].occurrences.len(), 2);

    // A sentence that is nobody's first, and one that is.
    let firsts: Vec<Id> = pairs.values().map(|pair| pair.candidates[0].sentence).collect();
    let second = |pair: &Pair| pair.candidates[1].sentence;
    let moved = pairs.values().map(second).find(|sentence| !firsts.contains(sentence)).unwrap();
    let loses = pictures[0];
    let first = pairs[&loses].candidates[0].sentence;
    let lines = format!("id:{moved}\nid:{first}\nhost:TWO.example\n");
    let list = handmade.list("takedowns.txt", &lines);
    let releases = [
        ("all", ALL.to_owned()),
        ("less", format!("{ALL}  takedowns: {list}\n")),
        ("columns", format!("{ALL}  format: parquet\n")),
        ("shifted", "  similarity: {metric: halfShifted, low: 0, high: 1}\n  balance: {targetSamples: 2}\n".to_owned()),
    ];
    let releases = releases.each_ref().map(|(name, fields)| (*name, fields.as_str()));
    handmade.manifest(TOLERANT, "", &releases);
    let outcome = handmade.build().unwrap();
    let made: HashMap<&str, &ReleaseManifest> =
        outcome.releases.iter().map(|(name, manifest)| (name.as_str(), manifest)).collect();

    let less = released(made["less"]);
    let dropped = rows::<Dropped>(&handmade.sealed(Some("less")), ids::PAIRS, "dropped");
    let reason = |id: Id| dropped.iter().find(|d| d.what == id.to_string()).map(|d| d.reason.as_str());
    assert_eq!(reason(pictures[3]), Some("taken-down"), "one of its places is named");
    assert!(!less.contains_key(&pictures[3]));
    for (id, pair) in pairs.iter().filter(|(id, _)| **id != pictures[3]) {
        if pair.candidates[0].sentence == first {
            assert_eq!(reason(*id), Some("sentence-taken-down"));
            assert!(!less.contains_key(id));
            continue;
        }
        let left: Vec<Id> = pair.candidates.iter().map(|c| c.sentence).filter(|s| *s != moved && *s != first).collect();
        let row = &less[id];
        assert_eq!((row.text1_id, row.text2_id), (Some(left[0]), Some(left[1])), "the next moves up");
        assert_eq!(row.syn_text, all[id].syn_text);
    }
    assert!(reason(loses).is_some());

    let columns = made["columns"];
    assert!(columns.files.iter().all(|file| file.name.ends_with(".parquet")) && columns.pairs == all.len() as u64);
    assert_eq!(columns.digest, made["all"].digest, "the same pairs");
    table_row! {
        /// A picture in a column.
        #[derive(Serialize, Deserialize)]
        struct Picture {
            jpg: realsyn_dataset::formats::Blob,
        }
    }
    let bytes = std::fs::read(format!("{}/{}", columns.uri, columns.files[0].name)).unwrap();
    for Picture { jpg } in read_table::<Picture>(bytes.into(), &Limits::default()).unwrap() {
        let rgb = realsyn_vision::decode(&jpg.0, &realsyn_vision::DecodeLimits::default()).unwrap().rgb;
        assert!(rgb.width().min(rgb.height()) <= 224);
    }

    let shifted = rows::<BandRow>(&handmade.sealed(Some("shifted")), ids::SELECT, "band");
    assert_eq!((shifted[0].low, shifted[0].high), (-1.0, 1.0));
    assert_eq!(made["shifted"].pairs, 2);

    let card = |name: &str| std::fs::read_to_string(format!("{}/README.md", made[name].uri)).unwrap();
    let of_all = card("all");
    let here = run.inventory.root();
    for said in [
        "- release: all of build handmade\n".to_owned(),
        "- source: html at `corpus`, revision first, 2 files\n".to_owned(),
        format!("- inventory root: `{here}`\n"),
        format!("- pool: `{pool}`\n"),
        "cosine from -1, cosine to 1, which are cosines from -1.0000 to 1.0000\n".to_owned(),
        "- balance: none\n".to_owned(),
        // The URLs of a picture are sorted, and that with a capital comes first.
        format!("| `one.example` | {} |\n| `two.example` | 1 |\n", all.len() - 1),
        "Unknown means that the document states none, which permits nothing".to_owned(),
        format!("- clip: sha256 `{}`\n", realsyn_models::folder_sha256(&handmade.models.join("demo-clip")).unwrap()),
        "| fetch/fetch | 7 | 7 |  |\n".to_owned(),
        "`NNNNN.tar` are WebDataset shards".to_owned(),
    ] {
        assert!(of_all.contains(&said), "{said}: {of_all}");
    }
    let states = |pair: &Pair| pair.occurrences.iter().any(|o| o.licence.is_some());
    let licensed = pairs.values().filter(|pair| states(pair)).count();
    assert!(of_all.contains(&format!("| `{LICENCE}` | {licensed} |\n")), "{of_all}");
    assert!(of_all.contains(&format!("| `unknown` | {} |\n", pairs.len() - licensed)), "{of_all}");
    let of_shifted = card("shifted");
    assert!(
        of_shifted.contains("half of one plus the cosine from 0, half of one plus the cosine to 1"),
        "{of_shifted}"
    );
    assert!(of_shifted.contains("- balance: 2 in all, evenly from the clusters\n"), "{of_shifted}");
    assert!(!card("columns").contains("NNNNN.tar"));
}
