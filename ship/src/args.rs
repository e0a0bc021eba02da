//! The command line of `peep ship`, and what becomes of it.
//!
//! In: [`Args`] as clap read them, the key from the environment. Out: a [`Config`] in which nothing needs checking
//! again, or one sentence that says what is wrong and how to put it right (exit code 64). The key never comes from the
//! command line, where `ps` would show it to everybody on the host.

mod file;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use peep_wire::limits::{ENV_BYTES_MAX, NAME_BYTES_MAX, SERVICE_BYTES_MAX, is_name_byte};
use ureq::tls::{Certificate, PemItem, parse_pem};

use crate::detect::LineFormat;
use crate::follow::glob::Glob;
use crate::listen::Address;
use crate::position::Identity;
use crate::route::Pattern;
use crate::time::DurationUnit;

/// Ship nginx or Apache access logs to peep.
#[derive(Debug, clap::Args)]
#[command(after_help = "The ingest key is read from PEEP_INGEST_KEY, or from --key-file. \
Exit codes: 0 all events accepted (malformed lines are counted, not fatal), 1 events rejected or undeliverable, 64 usage.")]
pub struct Args {
    /// Log to read, as an option; may be repeated
    #[arg(long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,

    /// Logs to read: files, plain or gzip, patterns such as '/var/log/nginx/*access.log', or - for standard input
    #[arg(value_name = "FILE")]
    pub paths: Vec<PathBuf>,

    /// File with these options, one a line: name = value. What the command line says goes before it
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// Format of the log
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    pub format: Format,

    /// Unit of durations that do not name it (default: seconds). With us, the whole number that Apache writes for %D
    /// behind the user agent is read too
    #[arg(long, value_enum, value_name = "UNIT")]
    pub duration_unit: Option<DurationUnit>,

    /// Keep reading as the files grow, through rotation, until Ctrl-C; starts at their end
    #[arg(long)]
    pub follow: bool,

    /// With --follow: start at the beginning of the files
    #[arg(long, requires = "follow")]
    pub from_start: bool,

    /// Folder in which to remember, over restarts, how far the files are read and what is not answered yet. Without it a run
    /// starts at the end of the files
    #[arg(long, value_name = "FOLDER")]
    pub state: Option<PathBuf>,

    /// Take lines by syslog: udp:127.0.0.1:5514 or unix:/run/peep/syslog.sock; may be repeated. The tag is the service
    #[arg(long = "syslog", value_name = "ADDRESS")]
    pub syslog: Vec<String>,

    /// Take what the nginx module sends to this socket: unix:/run/peep/nginx.sock; may be repeated. Where nginx names no
    /// service, it is that of --service, else nginx
    #[arg(long = "nginx", value_name = "ADDRESS")]
    pub nginx: Vec<String>,

    /// Address for /metrics, /healthz and /readyz, such as 127.0.0.1:9465
    #[arg(long, value_name = "ADDRESS")]
    pub admin: Option<String>,

    /// Service that the events belong to (default: from the file name; shop for shop.access.log, else nginx)
    #[arg(long, value_name = "NAME")]
    pub service: Option<String>,

    /// Environment of the events (default: that of the key)
    #[arg(long, value_name = "NAME")]
    pub env: Option<String>,

    /// Host of the events (default: the server name in the log, if it has one)
    #[arg(long, value_name = "NAME")]
    pub host: Option<String>,

    /// Route pattern that goes before the built-in templates, such as '/product/{name}' or '/files/{*rest}'; may be
    /// repeated
    #[arg(long = "route", value_name = "PATTERN")]
    pub routes: Vec<String>,

    /// Distinct routes per service; further ones are counted as (other)
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub routes_max: usize,

    /// Where ingest listens
    #[arg(long, value_name = "URL", env = "PEEP_INGEST_URL", default_value = "http://127.0.0.1:4318")]
    pub url: String,

    /// Certificates to trust for https, in PEM form, instead of the built-in list of public authorities; for example
    /// /etc/ssl/certs/ca-certificates.crt
    #[arg(long, value_name = "FILE")]
    pub ca_file: Option<PathBuf>,

    /// File that holds the ingest key (default: the environment variable PEEP_INGEST_KEY)
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,

    /// Events per batch
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=5000))]
    pub batch_events: u32,

    /// Bytes per batch, before compression
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 20, value_parser = clap::value_parser!(u32).range(1024..=8 << 20))]
    pub batch_bytes: u32,

    /// Batches on their way at the same time
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=16))]
    pub in_flight: u8,

    /// Bytes of packed batches that may wait to be sent, so that senders of datagrams need not wait while ingest is away
    #[arg(long, value_name = "BYTES", default_value_t = 32 << 20, value_parser = clap::value_parser!(u32).range(0..=1 << 30))]
    pub buffer_bytes: u32,

    /// Compression of batches over 4 KiB
    #[arg(long, value_enum, default_value_t = Compress::Zstd)]
    pub compress: Compress,

    /// Send at most this many events a second
    #[arg(long, value_name = "EVENTS", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,

    /// Shift the log in time so that its last event ends now
    #[arg(long, value_enum, value_name = "WHEN")]
    pub rebase: Option<Rebase>,

    /// Stop when a batch could not be delivered for this many seconds; 0 = never (default: 120, with --follow 0)
    #[arg(long, value_name = "SECONDS")]
    pub give_up_after: Option<u32>,

    /// Print the events as NDJSON to standard output and send nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// A log format by name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// detect from the first lines
    #[default]
    Auto,
    /// nginx or Apache combined; further fields are tolerated
    Combined,
    /// combined and a request time behind the user agent
    CombinedTimed,
    /// one JSON object a line
    Json,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Compress {
    #[default]
    Zstd,
    Gzip,
    None,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Rebase {
    /// the last event of all files ends now
    Now,
}

/// One log to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Input {
    /// `None` is standard input.
    pub(crate) path: Option<PathBuf>,
    pub(crate) service: String,
}

impl Input {
    pub(crate) fn name(&self) -> String {
        self.path.as_ref().map_or_else(|| "standard input".to_owned(), |path| path.display().to_string())
    }
}

/// Checked once, then trusted.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) inputs: Vec<Input>,
    /// Followed inputs that are looked for again and again.
    pub(crate) globs: Vec<Glob>,
    pub(crate) syslog: Vec<Address>,
    /// Sockets of the nginx module.
    pub(crate) nginx: Vec<PathBuf>,
    /// Of everything; else file names and tags say it.
    pub(crate) service: Option<String>,
    /// The service names were taken from file names.
    pub(crate) service_guessed: bool,
    pub(crate) format: LineFormat,
    pub(crate) format_named: bool,
    pub(crate) duration_unit: Option<DurationUnit>,
    pub(crate) follow: Option<FollowFrom>,
    pub(crate) env: Option<String>,
    pub(crate) host: Option<String>,
    pub(crate) patterns: Vec<Pattern>,
    pub(crate) routes_max: usize,
    pub(crate) batch_events: u32,
    pub(crate) batch_bytes: usize,
    pub(crate) rate: Option<u32>,
    pub(crate) rebase: bool,
    pub(crate) state: Option<PathBuf>,
    pub(crate) admin: Option<String>,
    /// `None` is a dry run.
    pub(crate) target: Option<Target>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FollowFrom {
    Start,
    End,
}

/// Where and how to send.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) url: String,
    /// The host is this machine: no proxy belongs in between.
    pub(crate) loopback: bool,
    pub(crate) key: String,
    pub(crate) in_flight: u8,
    pub(crate) compress: Compress,
    pub(crate) buffer_bytes: usize,
    pub(crate) give_up_after: Option<Duration>,
    /// Whom to trust; `None` is the built-in list.
    pub(crate) authorities: Option<Arc<Vec<Certificate<'static>>>>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("url", &self.url).field("key", &"(secret)").finish_non_exhaustive()
    }
}

impl Args {
    /// With the options of the `--config` file, if there is one.
    pub(crate) fn complete(self) -> Result<Self, String> {
        match self.config.clone() {
            Some(path) => file::complete(&path, std::env::args_os().skip_while(|word| word != "ship").skip(1)),
            None => Ok(self),
        }
    }

    /// On sockets, which have no end.
    fn listens(&self) -> bool {
        !self.syslog.is_empty() || !self.nginx.is_empty()
    }
}

impl Config {
    /// `key` is the value of `PEEP_INGEST_KEY`.
    pub(crate) fn new(args: Args, key: Option<String>) -> Result<Self, String> {
        let (inputs, globs) = inputs(&args)?;
        let syslog = args
            .syslog
            .iter()
            .map(|text| Address::parse(text).map_err(|problem| format!("--syslog {problem}")))
            .collect::<Result<Vec<_>, _>>()?;
        let nginx = args.nginx.iter().map(|text| unix_path(text)).collect::<Result<Vec<_>, _>>()?;
        let listens = args.listens();
        if inputs.is_empty() && globs.is_empty() && !listens {
            return Err("nothing to read: name a log with --file access.log, or --file - for standard input, or listen with --syslog \
                        or --nginx"
                .to_owned());
        }
        if args.state.is_some() && !args.follow && !listens {
            return Err("--state remembers how far growing files are read; it goes together with --follow".to_owned());
        }
        if args.state.is_some() && inputs.iter().any(|input| input.path.is_none()) {
            return Err("standard input has no position to remember; it does not go together with --state".to_owned());
        }
        if !args.follow && listens && !inputs.is_empty() {
            return Err("a socket does not end, so files beside it are followed: add --follow".to_owned());
        }
        if args.rebase.is_some() {
            if args.follow || listens {
                return Err("--rebase shifts a finished log; it does not go together with --follow".to_owned());
            }
            if inputs.iter().any(|input| input.path.is_none()) {
                return Err(
                    "--rebase reads the log twice, which standard input does not allow; save it to a file first"
                        .to_owned(),
                );
            }
        }
        if let Some(env) = &args.env
            && !is_name(env, ENV_BYTES_MAX)
        {
            return Err(format!("--env {env:?}: 1 to {ENV_BYTES_MAX} of A-Z a-z 0-9 . _ / -"));
        }
        if args.host.as_ref().is_some_and(|host| host.is_empty() || host.len() > NAME_BYTES_MAX) {
            return Err(format!("--host takes 1 to {NAME_BYTES_MAX} bytes"));
        }
        if let Some(address) = args.admin.as_deref().filter(|address| !has_port(address)) {
            return Err(format!("--admin {address}: expected an address and a port, such as 127.0.0.1:9465"));
        }
        let patterns = args
            .routes
            .iter()
            .map(|text| text.parse().map_err(|problem| format!("--route {text}: {problem}")))
            .collect::<Result<_, _>>()?;
        let target = if args.dry_run { None } else { Some(target(&args, key)?) };
        Ok(Self {
            inputs,
            globs,
            syslog,
            nginx,
            service_guessed: args.service.is_none(),
            service: args.service,
            format: LineFormat::new(args.format, args.duration_unit),
            format_named: args.format != Format::Auto,
            duration_unit: args.duration_unit,
            follow: args.follow.then_some(if args.from_start { FollowFrom::Start } else { FollowFrom::End }),
            env: args.env,
            host: args.host,
            patterns,
            routes_max: args.routes_max.max(1),
            batch_events: args.batch_events,
            batch_bytes: args.batch_bytes as usize,
            rate: args.rate,
            rebase: args.rebase.is_some(),
            state: args.state,
            admin: args.admin,
            target,
        })
    }
}

impl Config {
    /// Files are followed or sockets listened on: it goes on until it is told to stop.
    pub(crate) fn is_endless(&self) -> bool {
        self.follow.is_some() || !self.syslog.is_empty() || !self.nginx.is_empty()
    }
}

/// A host, by name or number, and a port. Whether it is there to listen on, listening tells.
fn has_port(address: &str) -> bool {
    address.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

/// The module writes to nothing else.
fn unix_path(text: &str) -> Result<PathBuf, String> {
    match Address::parse(text) {
        Ok(Address::Unix(path)) => Ok(path),
        _ => Err(format!("--nginx {text}: expected unix:/PATH, such as unix:/run/peep/nginx.sock")),
    }
}

fn inputs(args: &Args) -> Result<(Vec<Input>, Vec<Glob>), String> {
    if let Some(name) = &args.service
        && !is_service_name(name)
    {
        return Err(format!("--service {name:?}: 1 to {SERVICE_BYTES_MAX} of A-Z a-z 0-9 . _ / -"));
    }
    let (mut inputs, mut globs) = (Vec::new(), Vec::new());
    for path in args.files.iter().chain(&args.paths) {
        match path.to_str().and_then(Glob::new) {
            Some(glob) if args.follow => globs.push(glob),
            Some(glob) => {
                let found = glob.find();
                if found.is_empty() {
                    return Err(format!("{}: no file has such a name", path.display()));
                }
                for path in &found {
                    inputs.push(input(path, args)?);
                }
            }
            None => inputs.push(input(path, args)?),
        }
    }
    if inputs.iter().filter(|input| input.path.is_none()).count() > 1 {
        return Err("standard input can be read only once".to_owned());
    }
    let mut seen = std::collections::HashSet::new();
    inputs.retain(|input: &Input| seen.insert(input.path.clone()));
    if !args.follow {
        // A log and a link to it are one file. What a link leads to may change while it is followed: `follow` looks itself.
        let mut seen = std::collections::HashSet::new();
        inputs.retain(|input| input.path.as_deref().and_then(file_number).is_none_or(|number| seen.insert(number)));
    }
    Ok((inputs, globs))
}

/// Device and inode.
fn file_number(path: &Path) -> Option<(u64, u64)> {
    let identity = Identity::of(&std::fs::metadata(path).ok()?);
    Some((identity.device, identity.inode))
}

fn input(path: &Path, args: &Args) -> Result<Input, String> {
    let stdin = path.as_os_str() == "-";
    let service = args.service.clone().unwrap_or_else(|| service_from(path));
    if stdin {
        return Ok(Input { path: None, service });
    }
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(format!("{}: is a folder; name the log file in it", path.display())),
        Ok(_) => Ok(Input { path: Some(path.to_owned()), service }),
        // A file that is followed may come into being later, as after a rotation.
        Err(error) if args.follow && error.kind() == std::io::ErrorKind::NotFound => {
            Ok(Input { path: Some(path.to_owned()), service })
        }
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

fn target(args: &Args, key: Option<String>) -> Result<Target, String> {
    let key = match &args.key_file {
        Some(path) => {
            Some(std::fs::read_to_string(path).map_err(|error| format!("--key-file {}: {error}", path.display()))?)
        }
        None => key,
    };
    let key = key.map(|key| key.trim().to_owned()).filter(|key| !key.is_empty()).ok_or(
        "no ingest key: set PEEP_INGEST_KEY (make dev writes one to .peep/dev.env), or use --key-file, or --dry-run",
    )?;
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the ingest key has characters that no key has; is the file the right one?".to_owned());
    }
    let url = args.url.trim().trim_end_matches('/').trim_end_matches("/v1/events").trim_end_matches('/').to_owned();
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let host = rest
        .map(|rest| rest.split(['/', '?']).next().unwrap_or_default())
        .filter(|host| !host.is_empty())
        .ok_or_else(|| format!("--url {url}: expected http://host:port or https://host:port"))?;
    let loopback = host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]");
    let give_up_after = match args.give_up_after {
        Some(0) => None,
        Some(seconds) => Some(Duration::from_secs(seconds.into())),
        None if args.follow || args.listens() => None,
        None => Some(Duration::from_secs(120)),
    };
    let authorities = args.ca_file.as_deref().map(authorities).transpose()?;
    if authorities.is_some() && !url.starts_with("https://") {
        return Err(format!("--ca-file is for https, and --url is {url}"));
    }
    let (compress, buffer_bytes) = (args.compress, args.buffer_bytes as usize);
    Ok(Target { url, loopback, key, in_flight: args.in_flight, compress, buffer_bytes, give_up_after, authorities })
}

fn authorities(path: &Path) -> Result<Arc<Vec<Certificate<'static>>>, String> {
    let name = path.display();
    let pem = std::fs::read(path).map_err(|error| format!("--ca-file {name}: {error}"))?;
    let mut authorities = Vec::new();
    for item in parse_pem(&pem) {
        match item {
            Ok(PemItem::Certificate(certificate)) => authorities.push(certificate),
            Ok(_) => {}
            Err(error) => return Err(format!("--ca-file {name}: {error}")),
        }
    }
    if authorities.is_empty() {
        return Err(format!("--ca-file {name}: holds no certificate in PEM form"));
    }
    Ok(Arc::new(authorities))
}

/// `/var/log/nginx/shop.access.log.1.gz` is the service `shop`; a name that says nothing is `nginx`. The log of a container under
/// Kubernetes, `web-7d4b9_shop_nginx-<64 hex digits>.log`, is that of the container: `nginx`.
pub(crate) fn service_from(path: &Path) -> String {
    if let Some(container) = container_name(path) {
        return container.to_owned();
    }
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let mut words: Vec<&str> = name.split('.').collect();
    while let Some(last) = words.last() {
        let rotation = last.len() < 9 && last.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        if !rotation && !matches!(*last, "gz" | "log" | "txt" | "json" | "peep" | "access") {
            break;
        }
        words.pop();
    }
    let joined = words.join(".");
    let stem = ["_access", "-access", "_access_log", "-access_log", "_log"]
        .iter()
        .fold(joined.as_str(), |stem, ending| stem.strip_suffix(ending).unwrap_or(stem));
    match stem {
        "" | "-" | "access" | "access_log" | "other_vhosts_access" => "nginx".to_owned(),
        stem if is_service_name(stem) => stem.to_owned(),
        _ => "nginx".to_owned(),
    }
}

/// Of `<pod>_<namespace>_<container>-<id>.log`.
fn container_name(path: &Path) -> Option<&str> {
    let name = path.file_name()?.to_str()?.strip_suffix(".log")?;
    let (_pod, rest) = name.split_once('_')?;
    let (_namespace, rest) = rest.split_once('_')?;
    let (container, id) = rest.rsplit_once('-')?;
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (is_id && is_service_name(container)).then_some(container)
}

pub(crate) fn is_service_name(name: &str) -> bool {
    is_name(name, SERVICE_BYTES_MAX)
}

fn is_name(name: &str, bytes_max: usize) -> bool {
    (1..=bytes_max).contains(&name.len()) && name.bytes().all(is_name_byte)
}

#[cfg(test)]
mod tests;
