//! Which answers of a language model pass as a synthetic text.

use std::collections::BTreeSet;

use realsyn_models::{FinishReason, Generated};
use realsyn_text::normalise::{canonical, words};
use realsyn_text::rules::SentenceRules;

/// Words of an answer: fewer say nothing, more are a story.
const WORDS: std::ops::RangeInclusive<usize> = 4..=60;

/// Openings of answers that talk about the task instead of doing it.
const REFUSALS: &[&str] = &[
    "i'm sorry",
    "i am sorry",
    "sorry",
    "i cannot",
    "i can't",
    "as an ai",
    "i'm unable",
    "i am unable",
    "unfortunately",
    "the raw text",
    "the synthetic caption",
    "raw text:",
    "synthetic caption:",
    "tags:",
    "here is",
    "here's",
    "sure",
];

/// The text to keep, or the reason why there is none.
///
/// An answer cut by the token limit is kept up to its last whole sentence, if there is one.
pub fn judge(answer: &Generated, raw: &str) -> Result<String, &'static str> {
    let text = canonical(answer.text.trim().trim_matches('"').trim());
    let text = match answer.finish {
        FinishReason::Stop => text,
        FinishReason::Length => match text.rfind(['.', '!', '?']) {
            Some(end) => text[..=end].to_owned(),
            None => return Err("cut-off"),
        },
    };
    if text.is_empty() {
        return Err("empty");
    }
    let lower = text.to_lowercase();
    if REFUSALS.iter().any(|r| lower.starts_with(r)) {
        return Err("refusal");
    }
    let said: Vec<String> = words(&text).collect();
    if !WORDS.contains(&said.len()) {
        return Err("length");
    }
    if said == words(raw).collect::<Vec<_>>() {
        return Err("echo");
    }
    if repeats(&said) {
        return Err("repetition");
    }
    let english = SentenceRules {
        min_words: 0,
        max_words: usize::MAX,
        min_complexity: 0,
        require_action: false,
        languages: vec!["en".into()],
        ..SentenceRules::default()
    };
    if english.check(&text).is_err() {
        return Err("language");
    }
    Ok(text)
}

/// Whether a run of three words comes back so often that less than two thirds of the runs are distinct.
fn repeats(words: &[String]) -> bool {
    let runs: Vec<&[String]> = words.windows(3).collect();
    let distinct: BTreeSet<&&[String]> = runs.iter().collect();
    runs.len() >= 6 && distinct.len() * 3 < runs.len() * 2
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(text: &str, finish: FinishReason) -> Result<String, &'static str> {
        judge(&Generated { text: text.into(), tokens: 9, finish }, "A cat sleeps on the warm stone wall.")
    }

    #[test]
    fn good_answers_pass_and_bad_ones_have_a_reason() {
        let good = "A small cat is sleeping on a warm stone wall in the sun.";
        assert_eq!(ask(good, FinishReason::Stop).unwrap(), good);
        assert_eq!(ask(&format!("\"{good}\""), FinishReason::Stop).unwrap(), good);
        assert_eq!(ask(&format!("{good} And then the"), FinishReason::Length).unwrap(), good);
        assert_eq!(ask("no end in sight of this very long", FinishReason::Length), Err("cut-off"));
        assert_eq!(ask("  ", FinishReason::Stop), Err("empty"));
        assert_eq!(ask("I'm sorry, but I cannot do that for you.", FinishReason::Stop), Err("refusal"));
        assert_eq!(ask("A cat.", FinishReason::Stop), Err("length"));
        assert_eq!(ask("a cat sleeps on the warm stone wall", FinishReason::Stop), Err("echo"));
        let loops = "the wall is warm and ".repeat(6);
        assert_eq!(ask(&loops, FinishReason::Stop), Err("repetition"));
        assert_eq!(
            ask(
                "Die kleine Katze schläft auf der warmen Mauer und träumt von den Mäusen im Garten.",
                FinishReason::Stop
            ),
            Err("language")
        );
    }
}
