//! Says a message: word by word as server-sent events, or whole once all of it is said.

use std::{
    convert::Infallible,
    iter::Peekable,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::SystemTime,
};

use actix_web::web::Bytes;
use futures::{Stream, stream};
use serde_json::Value;
use tokio::time::{Instant, sleep_until};

use crate::{
    answer::{Message, Word},
    dialect::{Dialect, Ending, Frame},
    tool::ToolCall,
};

/// A message being said.
pub struct Speech {
    dialect: Box<dyn Dialect>,
    words: Peekable<Box<dyn Iterator<Item = Word> + Send>>,
    /// When the last word was due.
    due: Instant,
    ending: Ending,
    stage: Stage,
    /// Held for as long as somebody listens.
    _open: OpenAnswer,
}

#[derive(Debug, Clone, Copy)]
enum Stage {
    Unopened,
    Speaking,
    Closed,
}

/// How many answers are under way.
#[derive(Debug, Clone, Default)]
pub struct OpenAnswers(Arc<AtomicUsize>);

/// One of them; ends when it is dropped, also because the client hung up.
#[derive(Debug)]
pub struct OpenAnswer(Arc<AtomicUsize>);

impl Speech {
    pub fn new(
        dialect: Box<dyn Dialect>,
        message: &Message,
        call: Option<ToolCall>,
        open: OpenAnswer,
    ) -> Self {
        let words: Box<dyn Iterator<Item = Word> + Send> = Box::new(message.words());
        let output_tokens = call.as_ref().map_or(0, |call| tokens_in(call.arguments.len()));
        Self {
            dialect,
            words: words.peekable(),
            due: Instant::now(),
            ending: Ending { text: String::new(), call, output_tokens },
            stage: Stage::Unopened,
            _open: open,
        }
    }

    /// A chunk for each word, every one handed to the socket before the next is made.
    pub fn into_events(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        stream::unfold(self, |mut speech| async move {
            let frames = speech.next_frames().await?;
            let chunk: String = frames.iter().map(Frame::write).collect();
            Some((Ok(Bytes::from(chunk)), speech))
        })
    }

    pub async fn into_whole(mut self) -> Value {
        while self.next_word().await.is_some() {}
        self.dialect.whole(&self.ending)
    }

    async fn next_frames(&mut self) -> Option<Vec<Frame>> {
        match self.stage {
            Stage::Unopened => {
                self.stage = Stage::Speaking;
                Some(self.dialect.open())
            }
            Stage::Speaking => {
                if let Some(word) = self.next_word().await {
                    return Some(self.dialect.word(&word));
                }
                self.stage = Stage::Closed;
                Some(self.dialect.close(&self.ending))
            }
            Stage::Closed => None,
        }
    }

    /// Waits until the next word is due. Words keep their rhythm, but after a reader that could not
    /// follow they do not come in a burst.
    async fn next_word(&mut self) -> Option<String> {
        let pause = self.words.peek()?.pause();
        self.due = (self.due + pause).max(Instant::now());
        // Without a pause too the chunk before must leave first: the server writes to the socket
        // only when its stream has nothing ready.
        tokio::task::yield_now().await;
        if Instant::now() < self.due {
            sleep_until(self.due).await;
        }
        let word = self.words.next()?.leave(SystemTime::now());
        self.ending.text.push_str(&word);
        self.ending.output_tokens += 1;
        Some(word)
    }
}

impl OpenAnswers {
    pub fn enter(&self) -> OpenAnswer {
        self.0.fetch_add(1, Ordering::Relaxed);
        OpenAnswer(Arc::clone(&self.0))
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for OpenAnswer {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Four bytes a token: nobody is billed by it, but usage must not be zero, or cost is.
pub fn tokens_in(bytes: usize) -> u64 {
    u64::try_from(bytes / 4).unwrap_or(u64::MAX).saturating_add(1)
}
