use super::*;

#[test]
fn counts_attributes_and_relations_of_the_richest_object() {
    for (sentence, complexity) in [
        ("There are stars.", 0),
        ("He walks.", 0),
        ("", 0),
        ("... !", 0),
        ("A red car", 1),
        ("The car is red.", 1),
        ("A small red car", 2),
        ("The dog sleeps.", 1),
        // "dogs" has its number and the verb.
        ("Two dogs run.", 2),
        // "beach" has an adjective and a preposition on either side.
        ("A man on a sandy beach near water", 3),
    ] {
        assert_eq!(analyse(sentence).complexity, complexity, "{sentence}");
    }
}

#[test]
fn auxiliaries_are_no_actions() {
    for (sentence, actions) in [
        ("The sky is blue.", 0),
        ("The samples were small.", 0),
        ("The results will be good.", 0),
        ("The cat was sleeping.", 1),
        ("The bridge has been painted.", 1),
        ("She carries a basket and sings.", 2),
    ] {
        assert_eq!(analyse(sentence).actions, actions, "{sentence}");
    }
}

#[test]
fn a_verb_that_the_tagger_takes_for_a_noun_is_found() {
    for sentence in [
        "An engineer measures the pressure in the pipe.",
        "High-income countries face two major issues.",
        "Her brother repairs old radios in the cellar.",
    ] {
        assert_eq!(analyse(sentence).actions, 1, "{sentence}");
    }
    for fragment in ["Galaxy clusters in the sky", "Stone bridges, old and new", "The Stone Bridges of the Valley"] {
        assert_eq!(analyse(fragment).actions, 0, "{fragment}");
    }
}

#[test]
fn a_verb_before_its_object_is_no_attribute() {
    assert_eq!(analyse("Dogs chased cats.").complexity, 1);
    assert_eq!(analyse("The painted wall").complexity, 1);
}

/// The paper's rules drop 14.6 % of all sentences, most of them for other reasons than these. Prose written for the purpose:
/// each sentence has an object and an action.
#[test]
fn plain_prose_is_kept() {
    let prose = [
        "The ferry left the harbour before sunrise.",
        "A farmer drove his tractor across the muddy field.",
        "Children played football behind the school.",
        "Heavy snow covered the roofs of the village.",
        "The museum opened a new wing last spring.",
        "Two musicians tuned their instruments on the stage.",
        "Her brother repairs old radios in the cellar.",
        "The river floods the lower meadows every winter.",
        "Visitors climb a narrow staircase to the tower.",
        "Bees gather nectar from the lavender bushes.",
        "The baker sells fresh bread at the corner.",
        "A crane lifts steel beams onto the roof.",
        "Volcanoes erupt when molten rock rises through the crust.",
        "The committee rejected the proposal after a long debate.",
        "Sailors mended their nets while the storm raged.",
        "Light from distant galaxies reaches the telescope at night.",
        "The cook chops onions and stirs the soup.",
        "Several climbers reached the summit without oxygen.",
        "An engineer measures the pressure in the pipe.",
        "The train crosses the valley on a stone bridge.",
    ];
    let kept = prose.iter().filter(|s| matches!(analyse(s), Analysis { complexity: 1.., actions: 1.. })).count();
    assert!(kept >= 18, "{kept} of {}", prose.len());
}

#[test]
fn nouns_are_singular_and_lower_case() {
    assert_eq!(nouns("Two Dogs chased the cats near churches."), ["dog", "cat", "church"]);
    assert_eq!(nouns("The children filled boxes with berries and glasses."), ["child", "box", "berry", "glass"]);
    assert_eq!(nouns("The bus's lens and its gases"), ["bus", "lens", "gas"]);
    assert!(nouns("He is 5.").is_empty());
}

#[test]
fn curly_apostrophes_are_apostrophes() {
    assert_eq!(analyse("It’s a very small house."), analyse("It's a very small house."));
}
