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
        ("/var/log/nginx/access.peep.log", "nginx"),
        ("shop.peep.log", "shop"),
        (
            "/var/log/containers/web-7d4b9_shop_checkout-4bf92f3577b34da6a3ce929d0e0e47364bf92f3577b34da6a3ce929d0e0e4736.log",
            "checkout",
        ),
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
        ("--file - --state /tmp/x", "--follow"),
        ("--file - --follow --state /tmp/x", "no position"),
        ("--file /nonexistent/*.log", "no file has such a name"),
        ("--syslog tcp:127.0.0.1:1", "expected udp:"),
        ("--syslog udp:127.0.0.1", "an address and a port"),
        ("--syslog udp:127.0.0.1:1 --file /etc/hosts", "add --follow"),
        ("--nginx unix:/tmp/x.sock --file /etc/hosts", "add --follow"),
        ("--nginx udp:127.0.0.1:1", "expected unix:"),
        ("--nginx /tmp/x.sock", "expected unix:"),
        ("--file - --admin nonsense", "--admin nonsense: expected an address and a port"),
        ("--file - --admin 9465", "such as 127.0.0.1:9465"),
        ("--file - --admin :9465", "such as 127.0.0.1:9465"),
        ("--file - --admin 127.0.0.1:94650", "such as 127.0.0.1:9465"),
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
fn a_file_with_two_names_is_read_once() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    std::fs::write(&log, "").unwrap();
    std::fs::write(folder.path().join("other.log"), "").unwrap();
    std::os::unix::fs::symlink(&log, folder.path().join("latest.log")).unwrap();
    let inputs = config(&format!("--file {}/*.log", folder.path().display())).unwrap().inputs;
    let names = ["access.log", "other.log"].map(|name| folder.path().join(name).display().to_string());
    assert_eq!(inputs.iter().map(Input::name).collect::<Vec<_>>(), names);
}

/// The table of options in the reference, from the same source as `--help`.
fn option_table() -> String {
    use clap::Args as _;
    let command = Args::augment_args(clap::Command::new("ship"));
    let mut rows = String::from("| option | default | meaning |\n| --- | --- | --- |\n");
    for option in command.get_arguments().filter(|option| option.get_long().is_some_and(|name| name != "help")) {
        let value = match (option.get_action().takes_values(), option.get_value_names()) {
            (false, _) => String::new(),
            (true, Some(names)) => format!(" {}", names[0]),
            (true, None) => format!(" {}", option.get_id().as_str().to_uppercase()),
        };
        let defaults: Vec<_> = option.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = match option.get_action() {
            clap::ArgAction::SetTrue => String::new(),
            _ => defaults.join(", "),
        };
        let help =
            option.get_help().map(ToString::to_string).unwrap_or_default().replace('|', "\\|").replace('<', "&lt;");
        rows.push_str(&format!("| `--{}{value}` | {default} | {help} |\n", option.get_long().unwrap_or_default()));
    }
    rows
}

#[test]
fn the_reference_has_every_option_as_help_has_it() {
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/shipping.md")).unwrap();
    let table = option_table();
    assert!(page.contains(&table), "docs/shipping.md should hold this table:\n{table}");
}

#[test]
fn the_url_may_be_the_whole_endpoint() {
    for url in ["http://h:1", "http://h:1/", "http://h:1/v1/events"] {
        assert_eq!(config(&format!("--file - --url {url}")).unwrap().target.unwrap().url, "http://h:1");
    }
}
