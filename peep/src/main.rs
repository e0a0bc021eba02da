//! The one binary: what it can do is in [`cli`], how a service process lives in [`app`].

use std::process::ExitCode;

use clap::Parser;

mod cli;

mod configuration;

mod app;

mod services;

mod listen;

mod schema;

mod keys;

mod rejects;

mod log;

mod verify;

/// jemalloc: bursts of bodies and histograms leave less behind in it than in the system's allocator.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    let outcome = match cli::Cli::parse().command {
        cli::Command::Up(service) => app::main(&services::Service::ALL, service.print_config),
        cli::Command::Ingest(service) => app::main(&[services::Service::Ingest], service.print_config),
        cli::Command::Rollup(service) => app::main(&[services::Service::Rollup], service.print_config),
        cli::Command::Stream(service) => app::main(&[services::Service::Stream], service.print_config),
        cli::Command::Migrate => schema::main(),
        cli::Command::Key(command) => keys::main(command),
        cli::Command::LoginLink(link) => keys::login_link(&link),
        cli::Command::Rejects(command) => rejects::main(command),
        cli::Command::Log(command) => log::main(command),
        cli::Command::Ship(args) => peep_ship::run(*args),
        cli::Command::Verify(arguments) => verify::main(&arguments),
        cli::Command::CheckConfig(check) => configuration::main(check.markdown),
    };
    outcome.unwrap_or_else(|error| {
        // The chain of causes as one sentence; several problems are a line each.
        format!("{error:#}").lines().for_each(|line| eprintln!("peep: {line}"));
        configuration::exit_code(&error)
    })
}
