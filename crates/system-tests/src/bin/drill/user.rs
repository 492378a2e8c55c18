//! Somebody who works with one session: sends messages, also while a turn runs, interrupts, and never gives up.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use system_tests::{GaveUp, PatientClient, Reply};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::choices::Choices;
use crate::evidence::{Asked, Evidence, What};
use crate::journals;
use crate::reader::{self, Standing};
use crate::script::{self, Script};
use crate::stage::{Phase, Roll, Stage};

/// How long the platform may take to accept something once nothing is broken any more. While things are broken, users wait.
const ACCEPTED_WITHIN: Duration = Duration::from_mins(2);
/// A stream that is not broken shows what was accepted at once.
const SHOWN_WITHIN: Duration = Duration::from_secs(20);
/// A user does not pile up more turns than this.
const MOST_OPEN: usize = 3;
/// In a hundred turns.
const INTERRUPTS: u32 = 15;
/// In a hundred requests: sent by two programs at once.
const TWICE: u32 = 15;

/// What all users of a drill share.
#[derive(Clone)]
pub(crate) struct Calling {
    pub(crate) client: PatientClient,
    pub(crate) seed: u64,
    /// Distinguishes the idempotency keys of one run from those of another.
    pub(crate) run: String,
    pub(crate) agent: String,
    pub(crate) stage: watch::Receiver<Stage>,
    /// How long turns may take to end once nothing is broken any more.
    pub(crate) settle: Duration,
    pub(crate) roll: Arc<Roll>,
    /// Where sessions keep their files, if that is on this machine.
    pub(crate) workspaces: Option<PathBuf>,
}

struct User {
    calling: Calling,
    number: u32,
    session: String,
    choices: Choices,
    asked: Vec<Asked>,
    standing: watch::Receiver<Standing>,
    turns: u32,
    trouble: Vec<String>,
}

/// Opens a session, works with it until the drill is over, and tells what came of it.
pub(crate) async fn work(calling: Calling, number: u32) -> Result<Evidence, GaveUp> {
    let mut choices = Choices::of(calling.seed, &format!("user {number}"));
    let word = script::word(number, &mut choices);
    sleep(choices.milliseconds(0..=4000)).await;
    let session = open(&calling, number).await?;
    let (tell_standing, standing) = watch::channel(Standing::default());
    calling.roll.note(number, &session, standing.clone());
    let (tell_end, end) = watch::channel(None);
    let reading = tokio::spawn(reader::read(
        calling.client.clone(),
        session.clone(),
        Choices::of(calling.seed, &format!("reader {number}")),
        end,
        tell_standing,
    ));
    let mut user = User {
        calling,
        number,
        session,
        choices,
        asked: Vec::new(),
        standing,
        turns: 0,
        trouble: Vec::new(),
    };
    if let Err(failure) = user.converse(&word).await {
        user.trouble.push(failure.to_string());
    }
    let log = match user.log().await {
        Ok(log) => log,
        Err(failure) => {
            user.trouble.push(format!("the log cannot be read: {failure}"));
            Vec::new()
        }
    };
    tell_end.send_replace(log.last().and_then(|event| event["seq"].as_i64()).or(Some(0)));
    let sight = match reading.await {
        Ok(sight) => sight,
        Err(failure) => {
            user.trouble.push(format!("the reader failed: {failure}"));
            reader::Sight::new()
        }
    };
    let User { calling, session, asked, trouble, .. } = user;
    let journalled = calling.journals(&session);
    Ok(Evidence { number, session, word, asked, log, sight, journalled, trouble })
}

async fn open(calling: &Calling, number: u32) -> Result<String, GaveUp> {
    let body = json!({ "agent_id": calling.agent, "title": format!("drill {number}") });
    let key = format!("{}-open-{number}", calling.run);
    let patience = calling.patience();
    let opened = calling.client.post("/api/sessions", &body, &key, patience).await?;
    Ok(opened.body["id"].as_str().unwrap_or_default().to_owned())
}

impl Calling {
    /// Until everything is whole again, and some time after that.
    fn patience(&self) -> Duration {
        let ends = self.stage.borrow().chaos_ends;
        ends.saturating_duration_since(Instant::now()) + ACCEPTED_WITHIN
    }

    fn journals(&self, session: &str) -> Vec<(String, String)> {
        let digits = session.rsplit('_').next().unwrap_or(session);
        let workspace = self.workspaces.as_ref().map(|folder| folder.join(digits));
        workspace.map(|workspace| journals::events(&workspace)).unwrap_or_default()
    }

    async fn until_peace(&mut self) {
        // A drill that is gone has peace, too.
        let _ = self.stage.wait_for(|stage| stage.phase == Phase::Peace).await;
    }
}

impl User {
    async fn converse(&mut self, word: &str) -> Result<(), GaveUp> {
        let mut first = self.next_script();
        first.told = Some(format!("the word is {word}"));
        self.say(first).await?;
        while !self.calling.stage.borrow().has_users_done() {
            self.pause().await;
            if self.standing.borrow().open.len() < MOST_OPEN {
                let script = self.next_script();
                self.say(script).await?;
            }
            if self.choices.happens(INTERRUPTS) {
                sleep(self.choices.milliseconds(0..=4000)).await;
                let mut events = vec![What::Interrupt];
                if self.choices.happens(50) {
                    // Somebody who wants something else instead says both at once.
                    events.push(What::Message(self.next_script()));
                }
                self.send(events).await?;
            }
        }
        self.calling.until_peace().await;
        self.settled().await;
        self.say(Script::last()).await?;
        self.settled().await;
        Ok(())
    }

    fn next_script(&mut self) -> Script {
        self.turns += 1;
        Script::choose(self.number, self.turns, &mut self.choices)
    }

    /// Mostly until the session is idle, sometimes only for a moment.
    async fn pause(&mut self) {
        if self.choices.happens(30) {
            sleep(self.choices.milliseconds(0..=3000)).await;
            return;
        }
        let thinks = self.choices.milliseconds(0..=2500);
        let has_asked = !self.asked.is_empty();
        let idle = shown_and_idle(&mut self.standing, has_asked);
        let is_idle = until(idle, &mut self.calling.stage, Stage::has_users_done).await;
        if is_idle {
            sleep(thinks).await;
        }
    }

    async fn settled(&mut self) {
        let has_asked = !self.asked.is_empty();
        let idle = shown_and_idle(&mut self.standing, has_asked);
        // What is still open then is found by whoever reads the log.
        let _ = timeout(self.calling.settle, idle).await;
    }

    async fn say(&mut self, script: Script) -> Result<(), GaveUp> {
        self.send(vec![What::Message(script)]).await
    }

    /// Sends events in one request, which counts as one: all of them are accepted, or none.
    async fn send(&mut self, events: Vec<What>) -> Result<(), GaveUp> {
        let path = format!("/v1/sessions/{}/events", self.session);
        let key = format!("{}-{}-{}", self.calling.run, self.number, self.asked.len());
        let body = json!({ "events": events.iter().map(What::event).collect::<Vec<_>>() });
        let patience = self.calling.patience();
        let post = || self.calling.client.post(&path, &body, &key, patience);
        let reply = if self.choices.happens(TWICE) {
            let (first, second) = tokio::join!(post(), post());
            self.compare(&first, &second);
            first.or(second)
        } else {
            post().await
        };
        for (position, what) in events.into_iter().enumerate() {
            let asked = Asked::new(what, position, &reply);
            if let Some(event) = asked.event() {
                self.shown(event).await;
            }
            self.asked.push(asked);
        }
        reply.map(drop)
    }

    /// The same request under the same key has the same answer.
    fn compare(&mut self, first: &Result<Reply, GaveUp>, second: &Result<Reply, GaveUp>) {
        let id = |reply: &Reply| reply.body["data"][0]["id"].clone();
        if let (Ok(first), Ok(second)) = (first, second)
            && id(first) != id(second)
        {
            let what = format!("one key, two answers: {} and {}", first.body, second.body);
            self.trouble.push(what);
        }
    }

    /// Waits until the reader has seen this event, so that its turn counts as open. Not for long: a stream may be broken for a while.
    async fn shown(&self, event: &str) {
        let mut standing = self.standing.clone();
        let shown = standing.wait_for(|standing| standing.heard.contains(event));
        let _ = timeout(SHOWN_WITHIN, shown).await;
    }

    /// The whole log, page by page.
    async fn log(&self) -> Result<Vec<Value>, GaveUp> {
        let mut log = Vec::new();
        let mut page = String::new();
        loop {
            let path = format!("/v1/sessions/{}/events?limit=500{page}", self.session);
            let listed = self.calling.client.get(&path, ACCEPTED_WITHIN).await?;
            log.extend(listed["data"].as_array().into_iter().flatten().cloned());
            match listed["next_page"].as_str() {
                Some(next) => page = format!("&page={next}"),
                None => return Ok(log),
            }
        }
    }
}

/// Waits for one or the other; answers whether it was the first.
async fn until(
    wait: impl Future<Output = ()>,
    stage: &mut watch::Receiver<Stage>,
    or: impl FnMut(&Stage) -> bool,
) -> bool {
    let other = async { drop(stage.wait_for(or).await) };
    tokio::select! {
        () = wait => true,
        () = other => false,
    }
}

async fn shown_and_idle(standing: &mut watch::Receiver<Standing>, has_asked: bool) {
    let is_idle =
        |standing: &Standing| standing.open.is_empty() && (standing.last > 0 || !has_asked);
    let _ = standing.wait_for(is_idle).await;
}
