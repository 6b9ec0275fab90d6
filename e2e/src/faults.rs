//! Which faults there are, and a seeded rule that deals them out.

use std::collections::HashMap;

/// What happens to one request on its way through the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The connection ends before the server sees the request.
    LoseRequest,
    /// The server carries the request out; the connection ends before the answer.
    LoseResponse,
    /// The connection ends at once, and the server gets the request nevertheless, later.
    DeliverLate,
    /// As [`Fault::LoseRequest`], but the connection ends with a TCP reset.
    Reset,
    /// This status is answered, and the server never sees the request.
    Answer(u16),
    /// The server carries the request out, and then this status is answered.
    AnswerAfter(u16),
    /// Half of the answer's body comes, then nothing more.
    StallBody,
    /// Half of the answer's body comes, then the connection ends.
    TruncateBody,
    /// The server gets the request without its `If-None-Match`.
    StripCondition,
    /// The answer comes, so many milliseconds later than it could.
    Late(u64),
}

/// A request as the proxy sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// `GET`, `PUT` …
    pub method: String,
    /// Path, without the query.
    pub path: String,
    /// True if it carries `If-None-Match`.
    pub conditional: bool,
}

/// Deals faults at random, the same for one seed and order of requests; never more than two in a row to one method and
/// path, so a client with a few retries gets through.
#[derive(Debug)]
pub struct Seeded {
    state: u64,
    percent: u64,
    in_a_row: HashMap<(String, String), u32>,
}

impl Seeded {
    /// Faults for `percent` of the requests.
    pub fn new(seed: u64, percent: u64) -> Self {
        Self { state: seed, percent, in_a_row: HashMap::new() }
    }

    /// The fault of the next request.
    pub fn next(&mut self, seen: &Seen) -> Fault {
        const ANY: [Fault; 6] = [
            Fault::LoseRequest,
            Fault::LoseResponse,
            Fault::Reset,
            Fault::Answer(503),
            Fault::Answer(500),
            Fault::AnswerAfter(500),
        ];
        const READS: [Fault; 5] =
            [Fault::TruncateBody, Fault::TruncateBody, Fault::StallBody, Fault::LoseResponse, Fault::Answer(503)];
        // A late plain put would bring back an old content. No store can help that, so objects are named by attempt.
        const CONDITIONAL: [Fault; 5] = [
            Fault::DeliverLate,
            Fault::Answer(409),
            Fault::AnswerAfter(409),
            Fault::Answer(412),
            Fault::AnswerAfter(412),
        ];
        let strikes = self.random() % 100 < self.percent;
        let (group, choice) = (self.random().is_multiple_of(2), self.random() as usize);
        let in_a_row = self.in_a_row.entry((seen.method.clone(), seen.path.clone())).or_default();
        if !strikes || *in_a_row >= 2 {
            *in_a_row = 0;
            return Fault::None;
        }
        *in_a_row += 1;
        match (group, seen.method.as_str()) {
            (true, "GET") => READS[choice % READS.len()],
            (true, _) if seen.conditional => CONDITIONAL[choice % CONDITIONAL.len()],
            _ => ANY[choice % ANY.len()],
        }
    }

    /// SplitMix64.
    fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_deals_one_sequence_with_never_three_faults_in_a_row() {
        let seen = Seen { method: "PUT".into(), path: "/bucket/a".into(), conditional: true };
        let deal = |seed| {
            let mut rule = Seeded::new(seed, 90);
            (0..500).map(|_| rule.next(&seen)).collect::<Vec<_>>()
        };
        let faults = deal(7);
        assert_eq!(faults, deal(7));
        assert_ne!(faults, deal(8));
        assert!(faults.windows(3).all(|three| three.contains(&Fault::None)));
        for fault in [Fault::DeliverLate, Fault::Answer(409), Fault::AnswerAfter(412), Fault::LoseResponse] {
            assert!(faults.contains(&fault), "{fault:?}");
        }
    }
}
