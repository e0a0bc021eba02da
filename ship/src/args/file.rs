//! The options of `peep ship` from a file.
//!
//! In: a file with one option a line, and the words of the command line. Out: [`Args`]. Promised: the file has exactly the
//! options of the command line, under the same names and with the same checks; an option that is in both is taken from the
//! command line, and those that may be repeated are taken from both. Not done: secrets; the key has a file of its own.
//!
//! ```text
//! # How this host ships its logs.
//! follow
//! file = /var/log/nginx/*access.log
//! url = https://ingest.example:4318
//! ```

use std::ffi::OsString;
use std::path::Path;

use clap::{Args as _, Command, FromArgMatches as _};

use super::Args;

pub(super) fn complete(path: &Path, command_line: impl Iterator<Item = OsString>) -> Result<Args, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("--config {name}: {error}"))?;
    let words = words(&text).map_err(|problem| format!("--config {name} {problem}"))?;
    let command = Args::augment_args(Command::new("peep ship")).no_binary_name(true).args_override_self(true);
    let matches = command.try_get_matches_from(words.into_iter().map(OsString::from).chain(command_line));
    matches
        .and_then(|matches| Args::from_arg_matches(&matches))
        .map_err(|error| format!("--config {name}: {}", first_line(&error)))
}

/// `name = value` as the word `--name=value`, `name` alone as `--name`.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (line, None),
        };
        let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-');
        if name.is_empty() || !plain || name.starts_with('-') || name == "config" {
            return Err(format!(
                "line {}: expected an option of peep ship, such as `follow` or `url = http://…`",
                index + 1
            ));
        }
        words.push(match value {
            Some(value) => format!("--{name}={value}"),
            None => format!("--{name}"),
        });
    }
    Ok(words)
}

fn first_line(error: &clap::Error) -> String {
    let text = error.to_string();
    text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete_with(text: &str, command_line: &[&str]) -> Result<Args, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ship.conf");
        std::fs::write(&path, text).unwrap();
        complete(&path, command_line.iter().map(OsString::from))
    }

    #[test]
    fn a_file_has_the_options_of_the_command_line() {
        let args = complete_with(
            "# comment\n\nfollow\nfile = /var/log/nginx/*.log\nfile=/b.log\nroute = /a={b}\nbatch-events = 7\nnginx = unix:/a.sock\n",
            &[],
        )
        .unwrap();
        assert!(args.follow);
        assert_eq!(args.nginx, ["unix:/a.sock"]);
        assert_eq!(args.files, ["/var/log/nginx/*.log", "/b.log"].map(std::path::PathBuf::from));
        assert_eq!((args.batch_events, args.routes), (7, vec!["/a={b}".to_owned()]));
    }

    #[test]
    fn the_command_line_goes_before_the_file() {
        let args = complete_with("service = one\nfile = a.log\n", &["--service", "two", "b.log"]).unwrap();
        assert_eq!(args.service.as_deref(), Some("two"));
        assert_eq!((args.files.len(), args.paths.len()), (1, 1));
    }

    /// The words behind `args:` in a manifest.
    fn words_of(manifest: &str) -> Vec<String> {
        let lines = manifest.lines().map(str::trim).skip_while(|line| *line != "args:").skip(1);
        let words = lines.filter(|line| !line.starts_with('#')).map_while(|line| line.strip_prefix("- "));
        words.map(str::to_owned).collect()
    }

    #[test]
    fn the_examples_of_deployment_are_understood() {
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
        let args = complete(&deploy.join("systemd/ship.conf"), std::iter::empty()).unwrap();
        assert!(args.follow && args.state.is_some() && args.key_file.is_some(), "{args:?}");
        for name in ["sidecar.yaml", "daemonset.yaml"] {
            let manifest = std::fs::read_to_string(deploy.join("kubernetes").join(name)).unwrap();
            let words = words_of(&manifest);
            assert_eq!(words.first().map(String::as_str), Some("ship"), "{name}");
            let command = Args::augment_args(Command::new("peep"));
            let matches = command.try_get_matches_from(&words).unwrap_or_else(|error| panic!("{name}: {error}"));
            let args = Args::from_arg_matches(&matches).unwrap();
            assert!(args.follow && args.state.is_some() && !args.paths.is_empty(), "{name}: {args:?}");
        }
    }

    #[test]
    fn a_mistake_is_named_with_its_file() {
        for (text, expected) in [
            ("folow\n", "unexpected argument '--folow'"),
            ("batch-events = many\n", "invalid value 'many'"),
            ("ok\nservice: web\n", "line 2: expected an option"),
        ] {
            let problem = complete_with(text, &[]).map(|_| ()).unwrap_err();
            assert!(problem.contains("ship.conf") && problem.contains(expected), "{problem}");
        }
    }
}
