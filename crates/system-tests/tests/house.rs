//! The whole house at work: real services, PostgreSQL, RabbitMQ, LiteLLM and opencode in real sandboxes.
//!
//! One stack serves all scenarios, one after the other, because each start costs ten seconds. Those that break things come last.

#![expect(
    clippy::indexing_slicing,
    reason = "looking into a JSON value answers null, it does not panic"
)]

#[path = "house/boundaries.rs"]
mod boundaries;
#[path = "house/canaries.rs"]
mod canaries;
#[path = "house/collector.rs"]
mod collector;
#[path = "house/conversations.rs"]
mod conversations;
#[path = "house/deletion.rs"]
mod deletion;
#[path = "house/outages.rs"]
mod outages;
#[path = "house/requests.rs"]
mod requests;
#[path = "house/rolling.rs"]
mod rolling;
#[path = "house/way_out.rs"]
mod way_out;

use std::future::Future;
use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};
use local_stack::Part;
use system_tests::House;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

/// What every scenario is given: the house, for itself alone while it runs.
type Shared = Arc<Mutex<House>>;

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads = Some(1);
    if arguments.list {
        return libtest_mimic::run(&arguments, trials(None)).exit_code();
    }
    let runtime = match Runtime::new() {
        Ok(runtime) => Arc::new(runtime),
        Err(failure) => {
            eprintln!("no runtime: {failure}");
            return ExitCode::FAILURE;
        }
    };
    let house = runtime.block_on(House::build_with(|builder| {
        // Few places, so that sessions have to wait for each other also on a large machine.
        // Two of every service, so that what one replica leaves undone another one has to find.
        let replicas = Part::SERVICES.map(|part| format!("{part}=2")).join(",");
        builder.variable("LAP__SANDBOX__MAX_RUNNING", "4").variable("LAP_REPLICAS", &replicas)
    }));
    let house = match house {
        Ok(house) => Arc::new(Mutex::new(house)),
        Err(failure) => {
            eprintln!("{failure:?}");
            return ExitCode::FAILURE;
        }
    };
    let conclusion = libtest_mimic::run(&arguments, trials(Some((&runtime, &house))));
    if conclusion.has_failed() {
        runtime.block_on(async { house.lock().await.show_logs() });
    }
    drop(house);
    conclusion.exit_code()
}

fn trials(shared: Option<(&Arc<Runtime>, &Shared)>) -> Vec<Trial> {
    let mut scenarios = Scenarios { shared, trials: Vec::new() };
    conversations::add_to(&mut scenarios);
    boundaries::add_to(&mut scenarios);
    way_out::add_to(&mut scenarios);
    canaries::add_to(&mut scenarios);
    requests::add_to(&mut scenarios);
    deletion::add_to(&mut scenarios);
    rolling::add_to(&mut scenarios);
    outages::add_to(&mut scenarios);
    scenarios.trials
}

/// The scenarios in the order in which they run.
struct Scenarios<'a> {
    shared: Option<(&'a Arc<Runtime>, &'a Shared)>,
    trials: Vec<Trial>,
}

impl Scenarios<'_> {
    fn add<S, F>(&mut self, sentence: &str, scenario: S)
    where
        S: FnOnce(Shared) -> F + Send + 'static,
        F: Future<Output = anyhow::Result<()>>,
    {
        let shared = self.shared.map(|(runtime, house)| (Arc::clone(runtime), Arc::clone(house)));
        self.trials.push(Trial::test(sentence, move || {
            let Some((runtime, house)) = shared else { return Ok(()) };
            let outcome = runtime.block_on(scenario(house));
            outcome.map_err(|failure| Failed::from(format!("{failure:?}")))
        }));
    }
}
