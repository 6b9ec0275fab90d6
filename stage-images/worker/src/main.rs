//! `realsyn`: builds image-text datasets out of interleaved documents.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use realsyn_telemetry::{Format, Tail};
use realsyn_worker::affected::affected;
use realsyn_worker::args::{Cli, Command};
use realsyn_worker::build::{build, default_jobs};
use realsyn_worker::exit;
use realsyn_worker::explain::explain;
use realsyn_worker::failed_task;
use realsyn_worker::gc::gc;
use realsyn_worker::plan_command::plan;
use realsyn_worker::progress::Lines;
use realsyn_worker::run::{Execution, Order};
use realsyn_worker::shard_command::{forget, reject};
use realsyn_worker::stage_command::{advance, stage};
use realsyn_worker::withdraw::withdraw;

fn main() -> ExitCode {
    let command = Cli::parse().command;
    let tail = Tail::default();
    let _telemetry = realsyn_telemetry::start(realsyn_telemetry::Options {
        service: "realsyn-worker",
        format: Format::Text,
        filter: "warn",
        filter_file: None,
        tail: matches!(command, Command::Stage(_)).then(|| tail.clone()),
    });
    match run(command, &tail) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("realsyn: {error:#}");
            exit::code(&error)
        }
    }
}

fn run(command: Command, tail: &Tail) -> anyhow::Result<()> {
    match command {
        Command::Build(args) => {
            let jobs = args.jobs.unwrap_or_else(default_jobs);
            let progress = Lines::new();
            let done = build(&args, &progress, &Execution { jobs, order: Order::Forward, runs: 1, gpus: None });
            progress.finish();
            done.map(drop)
        }
        Command::Plan(args) => {
            print!("{}", plan(&args)?);
            Ok(())
        }
        Command::Explain { at, id } => {
            print!("{}", explain(&at, id)?);
            Ok(())
        }
        Command::Affected { at, id } => {
            print!("{}", affected(&at, id)?);
            Ok(())
        }
        Command::Reject(args) => {
            print!("{}", reject(&args)?);
            Ok(())
        }
        Command::Forget(args) => {
            print!("{}", forget(&args)?);
            Ok(())
        }
        Command::Stage(args) => {
            exit::on_sigterm()?;
            let span = tracing::info_span!("stage", step = args.step, index = args.index);
            realsyn_telemetry::follow_environment(&span);
            let done = exit::explained(args.report.as_deref(), span.in_scope(|| stage(&args)));
            if let Err(error) = &done {
                failed_task::keep_log(&args, tail, error);
            }
            done
        }
        Command::Advance(args) => {
            exit::on_sigterm()?;
            let span = tracing::info_span!("advance");
            realsyn_telemetry::follow_environment(&span);
            let report = exit::explained(args.report.as_deref(), span.in_scope(|| advance(&args)))?.encode();
            if let Some(file) = &args.report {
                return std::fs::write(file, report).with_context(|| format!("cannot write {}", file.display()));
            }
            println!("{}", String::from_utf8_lossy(&report));
            Ok(())
        }
        Command::Logs(args) => {
            print!("{}", failed_task::logs(&args)?);
            Ok(())
        }
        Command::Gc(args) => {
            print!("{}", exit::explained(args.report.as_deref(), gc(&args))?);
            Ok(())
        }
        Command::Withdraw(args) => {
            print!("{}", exit::explained(args.report.as_deref(), withdraw(&args))?);
            Ok(())
        }
    }
}
