//! What `peep` makes of its environment, seen from outside.

use std::net::TcpListener;
use std::time::Duration;

use peep_testkit::Peep;
use peep_testkit::process::free_address;

const SOON: Duration = Duration::from_secs(20);
const URL: &str = "postgres://peep:hunter2@127.0.0.1:1/peep";

#[tokio::test]
async fn nonsense_exits_64_with_one_line_per_problem() {
    let (status, said) = Peep::command(["up"])
        .env("PEEP_INGEST_LISTEN", "banana")
        .env("PEEP_LOG", "redis")
        .env("PEEP_SHUTDOWN_DELAY", "2 fortnights")
        .run(SOON)
        .await;
    assert_eq!(status.code(), Some(64), "{said}");
    for name in [
        "PEEP_INGEST_LISTEN: \"banana\"",
        "PEEP_LOG: \"redis\"",
        "PEEP_SHUTDOWN_DELAY: \"2 fort",
        "DATABASE_URL: is not",
    ] {
        assert_eq!(said.lines().filter(|line| line.contains(name)).count(), 1, "{name} in {said}");
    }
    assert_eq!(said.lines().filter(|line| line.starts_with("peep: ")).count(), 4, "{said}");
}

#[tokio::test]
async fn every_command_that_needs_the_database_says_so_when_it_is_not_named() {
    for command in [&["migrate"][..], &["key", "list"], &["login-link", "--project", "shop"], &["rollup"]] {
        let (status, said) = Peep::command(command.iter().copied()).run(SOON).await;
        assert_eq!(status.code(), Some(64), "{command:?}: {said}");
        assert!(said.contains("DATABASE_URL: is not set"), "{command:?}: {said}");
    }
}

#[tokio::test]
async fn print_config_shows_effective_values_and_no_secret() {
    for service in ["up", "ingest", "rollup", "stream"] {
        let (status, said) = Peep::command([service, "--print-config"])
            .env("DATABASE_URL", URL)
            .env("PEEP_ADMIN_LISTEN", "127.0.0.1:7777")
            .run(SOON)
            .await;
        assert!(status.success(), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        let row = |name: &str| said.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
        assert!(row("DATABASE_URL").contains("(set, redacted)"), "{said}");
        let admin = row("PEEP_ADMIN_LISTEN");
        let cells: Vec<&str> = admin.split_whitespace().skip(1).take(2).collect();
        assert_eq!(cells, ["127.0.0.1:7777", "127.0.0.1:9464"], "{said}");
    }
}

#[tokio::test]
async fn check_config_says_ok_and_points_at_misspelt_names() {
    let (status, said) = Peep::command(["check-config"])
        .env("DATABASE_URL", URL)
        .env("PEEP_INGEST_LISTN", "127.0.0.1:1")
        .run(SOON)
        .await;
    assert!(status.success(), "{said}");
    assert!(said.contains("PEEP_INGEST_LISTN is not a setting; did you mean PEEP_INGEST_LISTEN?"), "{said}");
    assert!(said.contains("OK: "), "{said}");
}

#[tokio::test]
async fn a_taken_port_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = taken.local_addr().expect("a bound address");
    let (status, said) = Peep::command(["up"])
        .env("DATABASE_URL", URL)
        .env("PEEP_ADMIN_LISTEN", free_address())
        .env("PEEP_INGEST_LISTEN", address)
        .env("PEEP_STREAM_LISTEN", free_address())
        .run(SOON)
        .await;
    assert_eq!(status.code(), Some(1), "{said}");
    let line = format!("peep: port {} is in use", address.port());
    assert!(said.lines().any(|said| said.starts_with(&line) && said.contains("PEEP_INGEST_LISTEN")), "{said}");
}

/// The page is generated so that it cannot be wrong; this keeps it from being old.
#[tokio::test]
async fn the_reference_page_is_current() {
    let (status, generated) = Peep::command(["check-config", "--markdown"]).run(SOON).await;
    assert!(status.success(), "{generated}");
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
    let written = std::fs::read_to_string(path).unwrap_or_default();
    if written != generated {
        let old: Vec<&str> = written.lines().filter(|line| !generated.contains(line)).collect();
        let new: Vec<&str> = generated.lines().filter(|line| !written.contains(line)).collect();
        panic!(
            "docs/configuration.md is not current; run: cargo run -p peep -- check-config --markdown > docs/configuration.md\n\
             only in the page:\n{}\nonly in the settings:\n{}",
            old.join("\n"),
            new.join("\n"),
        );
    }
}
