//! A fake vault-proxy that answers what the test says and remembers what it was asked.

use std::sync::{Arc, Mutex};

use platform_messaging::proto::egress::egress_command::Action;
use platform_messaging::proto::egress::{EgressCommand, EgressReply};
use platform_messaging::topology::Queue;
use platform_messaging::{Broker, Incoming, Verdict, decode, encode};
use tokio_util::sync::{CancellationToken, DropGuard};

pub struct FakeVaultProxy {
    asked: Arc<Mutex<Vec<Action>>>,
    _end: DropGuard,
}

impl FakeVaultProxy {
    pub fn run(broker: &Broker, reply: EgressReply) -> Self {
        let (asked, end) = (Arc::<Mutex<Vec<Action>>>::default(), CancellationToken::new());
        let (broker, until, heard) = (broker.clone(), end.clone(), asked.clone());
        tokio::spawn(async move {
            let handle = move |incoming: Incoming| {
                let command: EgressCommand = decode(&incoming.body).unwrap();
                heard.lock().unwrap().push(command.action.unwrap());
                std::future::ready(Verdict::Answer(encode(&reply)))
            };
            broker.consume(Queue::EGRESS_COMMANDS, 8, 8, until, handle).await;
        });
        Self { asked, _end: end.drop_guard() }
    }

    pub fn asked(&self) -> Vec<Action> {
        self.asked.lock().unwrap().clone()
    }
}
