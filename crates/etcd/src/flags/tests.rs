//! Claims about the table of flags.

use super::*;

#[test]
fn no_flag_stands_twice() {
    let mut names: Vec<_> = all().map(|flag| flag.name).collect();
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn every_flag_of_the_original_is_known() {
    let rows = include_str!("tests/original.txt").lines().filter(|row| !row.starts_with('#'));
    let names: Vec<_> = rows.filter_map(|row| row.split(' ').next()).collect();
    let unknown: Vec<_> = names.iter().filter(|name| find(name).is_none()).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
    assert!(names.len() > 150);
}

#[test]
fn every_default_is_a_value_that_its_flag_takes() {
    for flag in all() {
        let refused = crate::config::value::check(flag, flag.default).err();
        let empty = flag.default.is_empty();
        assert!(refused.is_none() || empty, "--{}: {refused:?}", flag.name);
    }
}

#[test]
fn renamed_flags_lead_to_flags_that_are_used() {
    for flag in all() {
        if let Fate::Renamed(to) = flag.fate {
            assert!(matches!(find(to).map(|flag| flag.fate), Some(Fate::Used(_))), "{to}");
        }
    }
}

#[test]
fn the_nearest_flag_is_suggested_and_a_far_one_is_not() {
    let check = |wrote: &str, meant: Option<&str>| assert_eq!(nearest(wrote), meant, "{wrote}");
    check("nmae", Some("name"));
    check("x", None);
    check("nam", Some("name"));
    check("datadir", Some("data-dir"));
    check("data_dir", Some("data-dir"));
    check("listen-client-url", Some("listen-client-urls"));
    check("advertise-client-ulrs", Some("advertise-client-urls"));
    check("frobnicate", None);
}

#[test]
fn distances_are_those_of_levenshtein() {
    let check = |from: &str, to: &str, expected| assert_eq!(distance(from, to), expected);
    check("", "", 0);
    check("", "abc", 3);
    check("abc", "", 3);
    check("kitten", "sitting", 3);
    check("abc", "abc", 0);
}

#[test]
fn help_names_every_flag_and_keeps_to_the_width_of_a_page() {
    let help = help();
    for flag in all() {
        assert!(help.contains(&format!("--{}", flag.name)), "{}", flag.name);
    }
    let wide: Vec<_> = help.lines().filter(|line| line.len() > 100).collect();
    assert!(wide.is_empty(), "{wide:?}");
}
