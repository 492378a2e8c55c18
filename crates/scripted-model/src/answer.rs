//! What one request is answered with: the reply that is due, played against the conversation.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::{
    conversation::Conversation,
    script::{self, Directive, Reply},
    tool::{Invocation, ToolError},
};

/// What a request without tools gets: agents make such calls on the side, for a title or a summary,
/// with the user's text in them, and a script must not run twice.
const SIDE_CALL: &str = "Scripted demo session";
const BEYOND_THE_SCRIPT: &str = "scripted: done";
const INTRODUCTION: &str = "\
I am the demo model of the LiteLLM Agent Platform, a script and not a language model: I do what your \
message spells out, one directive a line.

  @say TEXT              say it
  @run COMMAND           run a shell command
  @write PATH TEXT       write a file
  @tool NAME {json}      call any tool the agent offers
  @recall REGEX          say what earlier in this conversation matches
  @stream WORDS MS       stream that many words, one every MS milliseconds
  @sleep MS              wait before answering
  @fail STATUS           answer with that HTTP status
  @hang                  never answer

For example:

@write hello.py print(\"hello\")
@run python3 hello.py
@say That was a real program in a real sandbox.

To talk to a language model, start the platform with a provider's key (ANTHROPIC_API_KEY, \
OPENAI_API_KEY or GEMINI_API_KEY) and choose one of its models.";

#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// Waited before anything is sent.
    pub delay: Duration,
    pub content: Content,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Content {
    Message(Message),
    /// This HTTP status and nothing else.
    Failure(u16),
    /// The request is accepted and never answered.
    Silence,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    /// Said one after another, each on a line of its own.
    pub passages: Vec<Passage>,
    pub invocation: Option<Invocation>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Passage {
    Text(String),
    /// `w1@<unix µs> w2@<unix µs> …`: each word says when it left.
    Numbered {
        words: u32,
        pause: Duration,
    },
}

/// One word on its way out. What a numbered word says is settled only when it leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    Text(String),
    Numbered { number: u32, pause: Duration },
}

/// Plays the reply that is due.
pub fn answer(conversation: &Conversation) -> Answer {
    if conversation.tools.is_empty() {
        return Answer::says(SIDE_CALL);
    }
    if let Some(Invocation { name, arguments }) = conversation.order.clone() {
        let directives = vec![Directive::Tool { name, arguments }];
        return play(&Reply { directives }, conversation);
    }
    let replies = script::replies(&conversation.script);
    if replies.is_empty() {
        return Answer::says(INTRODUCTION);
    }
    match replies.get(conversation.tool_results) {
        Some(reply) => play(reply, conversation),
        None => Answer::says(BEYOND_THE_SCRIPT),
    }
}

fn play(reply: &Reply, conversation: &Conversation) -> Answer {
    let mut delay = Duration::ZERO;
    let mut refusal = None;
    let mut message = Message::default();
    for directive in &reply.directives {
        match directive {
            Directive::Say(text) => message.say(text),
            Directive::Run { command } => message.invoke(conversation.tools.run(command)),
            Directive::Write { path, text } => message.invoke(conversation.tools.write(path, text)),
            Directive::Tool { name, arguments } => {
                message.invoke(conversation.tools.call(name, arguments.clone()));
            }
            Directive::Sleep(pause) => delay = delay.saturating_add(*pause),
            Directive::Fail(status) => refusal = Some(Content::Failure(*status)),
            Directive::Hang => refusal = Some(Content::Silence),
            Directive::Stream { words, pause } => {
                message.passages.push(Passage::Numbered { words: *words, pause: *pause });
            }
            Directive::Recall(pattern) => {
                let found = newest_match(pattern, &conversation.history).unwrap_or("nothing");
                message.say(&format!("recalled: {found}"));
            }
            Directive::Unreadable(error) => message.say(&format!("scripted: {error}")),
        }
    }
    Answer { delay, content: refusal.unwrap_or(Content::Message(message)) }
}

fn newest_match<'history>(
    pattern: &regex::Regex,
    history: &'history [String],
) -> Option<&'history str> {
    let found = history.iter().rev().find_map(|text| pattern.find_iter(text).last());
    found.map(|found| found.as_str())
}

impl Answer {
    fn says(text: &str) -> Self {
        let mut message = Message::default();
        message.say(text);
        Self { delay: Duration::ZERO, content: Content::Message(message) }
    }
}

impl Message {
    fn say(&mut self, text: &str) {
        self.passages.push(Passage::Text(text.to_owned()));
    }

    /// A call that the agent does not offer is said aloud and ends the script.
    fn invoke(&mut self, invocation: Result<Invocation, ToolError>) {
        match invocation {
            Ok(invocation) => self.invocation = Some(invocation),
            Err(error) => self.say(&format!("scripted: {error}")),
        }
    }

    /// The text, word by word; made as it is asked for, because `@stream` may ask for millions.
    pub fn words(&self) -> impl Iterator<Item = Word> + use<> {
        let breaks = std::iter::once(None).chain(std::iter::repeat(Some(Word::text("\n"))));
        let passages = self.passages.clone().into_iter();
        passages
            .zip(breaks)
            .flat_map(|(passage, line_break)| line_break.into_iter().chain(passage.into_words()))
    }
}

impl Passage {
    fn into_words(self) -> Box<dyn Iterator<Item = Word> + Send> {
        match self {
            Self::Text(text) => {
                let words: Vec<Word> = text.split_inclusive(' ').map(Word::text).collect();
                Box::new(words.into_iter())
            }
            Self::Numbered { words, pause } => {
                Box::new((1..=words).map(move |number| Word::Numbered { number, pause }))
            }
        }
    }
}

impl Word {
    fn text(text: &str) -> Self {
        Self::Text(text.to_owned())
    }

    /// How long to wait before the word leaves.
    pub fn pause(&self) -> Duration {
        match self {
            Self::Text(_) => Duration::ZERO,
            Self::Numbered { pause, .. } => *pause,
        }
    }

    /// The word as it leaves at `now`. The blank behind a numbered word tells a reader that its
    /// number is whole.
    pub fn leave(self, now: SystemTime) -> String {
        match self {
            Self::Text(text) => text,
            Self::Numbered { number, .. } => {
                let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
                format!("w{number}@{} ", since_epoch.as_micros())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value, json};

    use super::*;
    use crate::tool::{Tool, Toolbox};

    fn conversation(script: &str, tool_results: usize) -> Conversation {
        Conversation {
            model: "demo".to_owned(),
            is_streamed: false,
            tools: Toolbox::new([Tool { name: "bash".to_owned(), schema: Value::Null }]),
            script: script.to_owned(),
            history: vec!["my word is plum-1".to_owned(), "no: plum-2, plum-3".to_owned()],
            tool_results,
            order: None,
        }
    }

    fn message(answer: Answer) -> Message {
        match answer.content {
            Content::Message(message) => message,
            Content::Failure(_) | Content::Silence => panic!("nothing is said"),
        }
    }

    fn said(conversation: &Conversation) -> String {
        let message = message(answer(conversation));
        let now = UNIX_EPOCH + Duration::from_micros(1_790_000_000_123_456);
        message.words().map(|word| word.leave(now)).collect()
    }

    #[test]
    fn the_reply_is_chosen_by_the_number_of_tool_results() {
        let script = "@say first\n@run ls\n@say second";
        let first = message(answer(&conversation(script, 0)));
        assert_eq!(first.passages, [Passage::Text("first".to_owned())]);
        let call = first.invocation.expect("the first reply runs ls");
        assert_eq!(
            (call.name.as_str(), Value::Object(call.arguments)),
            ("bash", json!({"command": "ls"}))
        );
        assert_eq!(said(&conversation(script, 1)), "second");
        assert_eq!(said(&conversation(script, 2)), "scripted: done");
    }

    #[test]
    fn a_call_that_is_ordered_goes_before_the_reply_that_is_due() {
        let order = Some(Invocation { name: "bash".to_owned(), arguments: Map::new() });
        let ordered = Conversation { order, ..conversation("@say hi", 0) };
        let message = message(answer(&ordered));
        assert_eq!(message.passages, []);
        assert_eq!(message.invocation.expect("the order is carried out").name, "bash");
    }

    #[test]
    fn a_request_without_tools_never_runs_the_script() {
        let side_call = Conversation { tools: Toolbox::default(), ..conversation("@fail 500", 0) };
        assert_eq!(said(&side_call), SIDE_CALL);
    }

    #[test]
    fn a_text_without_directives_is_answered_with_who_is_speaking_and_what_it_can_do() {
        let text = said(&conversation("write me a poem", 0));
        assert!(text.starts_with("I am the demo model of the LiteLLM Agent Platform, a script"));
        for directive in
            ["say", "run", "write", "tool", "recall", "stream", "sleep", "fail", "hang"]
        {
            assert!(text.contains(&format!("@{directive}")), "{directive} is not listed");
        }
    }

    #[test]
    fn the_newest_match_of_the_history_is_recalled() {
        assert_eq!(said(&conversation(r"@recall plum-\d", 0)), "recalled: plum-3");
        assert_eq!(said(&conversation("@recall pear", 0)), "recalled: nothing");
    }

    #[test]
    fn passages_stand_on_lines_of_their_own_and_numbered_words_say_when_they_left() {
        assert_eq!(
            said(&conversation("@say to start\n@stream 2 5\n@say end", 0)),
            "to start\nw1@1790000000123456 w2@1790000000123456 \nend"
        );
    }

    #[test]
    fn sleeps_add_up_before_the_reply_and_a_failure_takes_the_place_of_what_is_said() {
        let failed = answer(&conversation("@sleep 20\n@say x\n@sleep 30\n@fail 503", 0));
        assert_eq!(
            failed,
            Answer { delay: Duration::from_millis(50), content: Content::Failure(503) }
        );
        assert_eq!(answer(&conversation("@hang", 0)).content, Content::Silence);
    }

    #[test]
    fn a_call_that_is_not_offered_is_said_aloud() {
        let text = said(&conversation("@tool add {}", 0));
        assert_eq!(text, "scripted: no tool named add is offered, only: bash");
    }
}
