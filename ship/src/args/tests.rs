use clap::Parser as _;

use super::*;

#[derive(Debug, clap::Parser)]
struct Command {
    #[command(flatten)]
    args: Args,
}

fn config(words: &str) -> Result<Config, String> {
    let args = Command::parse_from(std::iter::once("ship").chain(words.split_whitespace())).args;
    Config::new(args, Some("peep_ing_test".to_owned()))
}

#[test]
fn the_service_comes_from_the_file_name() {
    for (path, service) in [
        ("/var/log/nginx/access.log", "nginx"),
        ("/var/log/nginx/access.log.1", "nginx"),
        ("shop.access.log.2.gz", "shop"),
        ("shop_access.log", "shop"),
        ("shop.example.com-access_log", "shop.example.com"),
        ("nginx_json_4122.log.gz", "nginx_json_4122"),
        ("-", "nginx"),
        ("мой.log", "nginx"),
    ] {
        assert_eq!(service_from(Path::new(path)), service, "{path}");
    }
}

#[test]
fn nonsense_is_refused_with_a_sentence() {
    for (words, sentence) in [
        ("", "nothing to read"),
        ("--file - --file -", "only once"),
        ("--file - --rebase now", "standard input"),
        ("--file /nonexistent/x.log", "No such file"),
        ("--file /", "is a folder"),
        ("--file - --service a*b", "--service"),
        ("--file - --url ftp://x", "expected http"),
        ("--file - --route product", "--route product"),
        ("--file - --key-file /nonexistent/key", "--key-file"),
    ] {
        let problem = config(words).unwrap_err();
        assert!(problem.contains(sentence), "{words}: {problem}");
    }
}

#[test]
fn the_key_is_required_unless_nothing_is_sent_and_never_shown() {
    let args = |words: &str| Command::parse_from(format!("ship --file - {words}").split_whitespace()).args;
    assert!(Config::new(args(""), None).unwrap_err().contains("PEEP_INGEST_KEY"));
    assert!(Config::new(args("--dry-run"), None).is_ok());
    assert!(!format!("{:?}", config("--file -").unwrap()).contains("peep_ing_test"));
}

#[test]
fn the_url_may_be_the_whole_endpoint() {
    for url in ["http://h:1", "http://h:1/", "http://h:1/v1/events"] {
        assert_eq!(config(&format!("--file - --url {url}")).unwrap().target.unwrap().url, "http://h:1");
    }
}
