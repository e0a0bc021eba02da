use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::{Env, Settings};

fn env<const N: usize>(pairs: [(&'static str, &'static str); N]) -> BTreeMap<&'static str, &'static str> {
    BTreeMap::from(pairs)
}

/// Reads one knob of each kind, named after the kind.
fn read_all(env: &dyn Env) -> (Settings<'_>, (u64, usize, Duration)) {
    let mut settings = Settings::new(env);
    let number = settings.u64("PEEP_NUMBER", 4, 1..=64, "a number");
    let bytes = settings.bytes("PEEP_BYTES", 8 << 20, 1024..=1 << 30, "a size");
    let span = settings.duration_ms("PEEP_SPAN", 600_000, 1_000..=3_600_000, "a span");
    (settings, (number, bytes, span))
}

#[test]
fn defaults_apply_when_nothing_is_set() {
    let env = env([]);
    let (settings, values) = read_all(&env);
    assert_eq!(values, (4, 8 << 20, Duration::from_secs(600)));
    let settings = settings.finish().expect("nothing is wrong");
    let shown: Vec<&str> = settings.iter().map(|setting| setting.effective.as_str()).collect();
    assert_eq!(shown, ["4", "8MiB", "10min"]);
}

#[test]
fn units_people_write_are_understood() {
    let env = env([("PEEP_BYTES", "64KiB"), ("PEEP_SPAN", "90s"), ("PEEP_NUMBER", " 7 ")]);
    let (settings, values) = read_all(&env);
    assert_eq!(values, (7, 64 << 10, Duration::from_secs(90)));
    assert!(settings.finish().is_ok());
}

#[test]
fn every_problem_is_reported_with_its_name() {
    let env = env([("PEEP_NUMBER", "many"), ("PEEP_BYTES", "8MB"), ("PEEP_SPAN", "2h")]);
    let (settings, _) = read_all(&env);
    let errors = settings.finish().expect_err("three values are nonsense");
    assert_lines(
        &errors.to_string(),
        &[
            "PEEP_NUMBER: \"many\" is not a whole number",
            "PEEP_BYTES: \"8MB\" is not a number of bytes; write 65536, 64KiB, 8MiB or 1GiB",
            "PEEP_SPAN: \"2h\" is out of range; expected 1s..1h",
        ],
    );
}

fn assert_lines(text: &str, expected: &[&str]) {
    assert_eq!(text.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn an_empty_value_counts_as_not_set() {
    let env = env([("PEEP_NUMBER", "  ")]);
    let (settings, values) = read_all(&env);
    assert_eq!(values.0, 4);
    assert!(settings.finish().is_ok());
}

#[test]
fn a_secret_is_readable_by_code_and_by_nobody_else() {
    let env = env([("DATABASE_URL", "postgres://u:hunter2@h/db")]);
    let mut settings = Settings::new(&env);
    let secret = settings.secret("DATABASE_URL", "the database").expect("it is set");
    assert_eq!(secret.expose_secret(), "postgres://u:hunter2@h/db");
    let settings = settings.finish().expect("nothing is wrong");
    assert!(!format!("{settings:?} {secret:?}").contains("hunter2"));
}

#[test]
fn choices_flags_lists_and_addresses() {
    let env = env([("PEEP_LOG", "kafka"), ("PEEP_FLAG", "1"), ("PEEP_LISTEN", "localhost:80"), ("PEEP_LIST", "a, b,")]);
    let mut settings = Settings::new(&env);
    assert_eq!(settings.choice("PEEP_LOG", "postgres", &["postgres", "kafka"], "the log"), "kafka");
    assert!(settings.flag("PEEP_FLAG", false, "a flag"));
    assert_eq!(settings.address("PEEP_LISTEN", "127.0.0.1:4318", "the port").to_string(), "127.0.0.1:80");
    assert_eq!(settings.list("PEEP_LIST", "", "names"), ["a", "b"]);
    assert!(settings.finish().is_ok());
}

#[test]
fn an_unknown_choice_lists_the_known_ones() {
    let env = env([("PEEP_LOG", "redis")]);
    let mut settings = Settings::new(&env);
    settings.choice("PEEP_LOG", "postgres", &["postgres", "kafka"], "the log");
    let errors = settings.finish().expect_err("redis is no log");
    assert_eq!(errors.to_string(), "PEEP_LOG: \"redis\" is unknown; expected postgres | kafka");
}

#[test]
fn a_setting_read_twice_is_listed_once() {
    let env = env([("PEEP_NUMBER", "zero")]);
    let mut settings = Settings::new(&env);
    settings.u64("PEEP_NUMBER", 4, 1..=64, "a number");
    settings.u64("PEEP_NUMBER", 4, 1..=64, "a number");
    assert_eq!(settings.registered().len(), 1);
    assert_eq!(settings.finish().expect_err("zero is a word").problems.len(), 1);
}

#[test]
fn a_misspelt_name_is_found_and_an_unrelated_one_is_left_alone() {
    let env = env([("PEEP_NUMBR", "5"), ("PEEP_INGEST_KEY", "x"), ("PATH", "/bin")]);
    let (settings, _) = read_all(&env);
    assert_eq!(settings.misspelt(), [("PEEP_NUMBR".to_owned(), "PEEP_NUMBER")]);
}

#[test]
fn spans_and_sizes_survive_the_round_trip_through_text() {
    for value in [0, 1, 999, 1_000, 1_500, 60_000, 90_000, 3_600_000, 86_400_000, 7 * 86_400_000] {
        assert_eq!(super::units::parse_ms(&super::units::show_ms(value)), Ok(value));
    }
    for value in [0, 1, 1_023, 1_024, 1_536, 1 << 20, 3 << 30] {
        assert_eq!(super::units::parse_bytes(&super::units::show_bytes(value)), Ok(value));
    }
}

#[test]
fn a_default_that_depends_on_the_machine_is_shown_as_a_rule() {
    let env = env([]);
    let mut settings = Settings::new(&env);
    assert!((1..=8).contains(&settings.per_core("PEEP_WORKERS", 8, 1..=256, "threads")));
    assert_eq!(settings.registered()[0].default, "one per core, at most 8");
    assert!(settings.finish().is_ok());
}
