//! What the commands of `local-stack` say to a person and do for them.

use std::path::Path;

use local_stack::{DataDirectory, Progress, Stack, StackBuilder, StackEvent};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Starts the stack and, unless detached, stays with it. Ctrl-C while it starts ends what was started.
pub(crate) async fn up(
    builder: StackBuilder,
    detach: bool,
    progress: Progress,
) -> anyhow::Result<()> {
    let mut signals = EndSignals::new()?;
    let mut stack = tokio::select! {
        stack = builder.start() => stack?,
        () = signals.next() => anyhow::bail!("interrupted: what was started is ended again"),
    };
    progress.step("everything is ready");
    greet(&stack);
    if detach {
        stack.leave_running();
        return Ok(());
    }
    println!("Ctrl-C stops everything.");
    loop {
        tokio::select! {
            event = stack.next_event() => match event? {
                StackEvent::Stopped => {
                    progress.step("the stack was stopped from elsewhere");
                    return Ok(());
                }
                StackEvent::Ended { process, log, tail } => {
                    let log = log.display();
                    progress.step(&format!("{process} ended; its log {log} ends with:\n{tail}"));
                    progress.step(&format!("the rest goes on; start it again with: {}", restart(&stack, &process.to_string())));
                }
            },
            () = signals.next() => break,
        }
    }
    progress.step("stopping (Ctrl-C again ends everything at once) …");
    let at_once = Stack::attach(stack.data_directory().path(), progress)?;
    tokio::select! {
        stopped = stack.stop() => Ok(stopped?),
        () = signals.next() => {
            at_once.kill_all();
            Ok(())
        }
    }
}

fn restart(stack: &Stack, process: &str) -> String {
    let program = std::env::current_exe().unwrap_or_else(|_| "local-stack".into());
    let data = stack.data_directory().path().display();
    format!("{} --data-dir {data} start {process}", program.display())
}

fn greet(stack: &Stack) {
    let (url, key) = (stack.url(), stack.master_key());
    println!(
        "\n  URL                {url}\n  administrator key  {key}\n\n\
         Try it:\n\n  \
         curl -sS {url}/v1/agents \\\n    \
         -H 'authorization: Bearer {key}' -H 'content-type: application/json' \\\n    \
         -d '{{\"name\": \"first\", \"model\": \"demo\"}}'\n\n\
         Logs and pid files lie in {data}/log and {data}/run, the settings in {data}/env.",
        data = stack.data_directory().path().display(),
    );
}

/// Stops whatever runs, and removes the data if that is wanted.
pub(crate) async fn down(data: &Path, purge: bool, progress: Progress) -> anyhow::Result<()> {
    if !data.exists() {
        progress.step(&format!("{} is not there: nothing runs", data.display()));
        return Ok(());
    }
    let was_alive = Stack::down(data, progress).await?;
    progress.step(if was_alive { "the stack is stopped" } else { "nothing was running" });
    if purge {
        DataDirectory::open(data)?.purge()?;
        progress.step(&format!("{} is removed", data.display()));
    }
    Ok(())
}

pub(crate) fn status(stack: &Stack) {
    println!("{:<20} {:>6} {:>8}", "process", "port", "pid");
    for (name, port, pid) in stack.processes() {
        let port = port.map_or_else(String::new, |port| port.to_string());
        let pid = pid.map_or_else(|| "–".to_owned(), |pid| pid.to_string());
        println!("{name:<20} {port:>6} {pid:>8}");
    }
}

/// Prints what a shell has to evaluate so that tests find their database and broker.
pub(crate) async fn test_services(data: &Path, progress: Progress) -> anyhow::Result<()> {
    let builder = Stack::builder(data).not_durable().only_database_and_broker();
    let mut signals = EndSignals::new()?;
    let stack = tokio::select! {
        stack = builder.progress(progress).start() => stack?,
        () = signals.next() => anyhow::bail!("interrupted: what was started is ended again"),
    };
    let management = stack.setting("RABBITMQ_MANAGEMENT_URL").unwrap_or_default();
    println!("export TEST_DATABASE_URL='{}'", stack.database_url());
    println!("export TEST_RABBITMQ_MANAGEMENT_URL='{management}'");
    stack.leave_running();
    Ok(())
}

/// Ctrl-C and `kill`.
struct EndSignals {
    interrupt: Signal,
    terminate: Signal,
}

impl EndSignals {
    fn new() -> std::io::Result<Self> {
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { interrupt, terminate: signal(SignalKind::terminate())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
