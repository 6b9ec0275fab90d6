//! Batch plans: which texts go through a model together. Pure, so that a batch's content depends on the input list
//! alone.

/// Groups of input indices. Texts are taken by descending length (ties by index), and a group is closed when one more
/// text would lift its padded size, members × longest, above `budget` tokens. A text longer than the budget has a group
/// of its own. Texts of length 0 are in no group.
///
/// Long texts come first so that a thread that takes the last group takes a cheap one.
pub(crate) fn by_length(lengths: &[usize], budget: usize) -> Vec<Vec<usize>> {
    let mut order: Vec<usize> = (0..lengths.len()).filter(|&i| lengths[i] > 0).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(lengths[i]), i));
    let mut groups: Vec<Vec<usize>> = Vec::new();
    for index in order {
        match groups.last_mut() {
            Some(group) if (group.len() + 1) * lengths[group[0]] <= budget => group.push(index),
            _ => groups.push(vec![index]),
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_is_in_one_group_within_the_budget() {
        // A fixed multiplicative sequence: lengths 0..=40 in no order.
        let lengths: Vec<usize> = (0..500usize).map(|i| i * 7919 % 41).collect();
        let groups = by_length(&lengths, 100);
        let mut seen: Vec<usize> = groups.concat();
        seen.sort_unstable();
        let expected: Vec<usize> = (0..500).filter(|&i| lengths[i] > 0).collect();
        assert_eq!(seen, expected);
        for group in &groups {
            let longest = group.iter().map(|&i| lengths[i]).max().unwrap();
            assert_eq!(longest, lengths[group[0]]);
            assert!(group.len() * longest <= 100, "{group:?}");
        }
        // First fit over sorted lengths leaves no two neighbours that would have fitted together.
        for pair in groups.windows(2) {
            assert!((pair[0].len() + 1) * lengths[pair[0][0]] > 100);
        }
    }

    #[test]
    fn a_text_above_the_budget_goes_alone() {
        assert_eq!(by_length(&[3, 9, 0, 2], 5), vec![vec![1], vec![0], vec![3]]);
    }
}
