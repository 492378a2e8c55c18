//! What a host sends: values are taken out of its messages, whose frames are written anew.

use bytes::{Buf, Bytes, BytesMut};

use super::frame::{Head, LONGEST_CONTROL, Malformed, Opcode, Order, write};
use crate::secrets::Scrubber;

/// Longer frames are passed on in several.
const PART_BYTES: usize = 64 << 10;
/// A close frame's code stands before its text.
const CLOSE_CODE_BYTES: usize = 2;

/// The frames of one host on their way to a program.
pub struct ScrubbedFrames {
    /// Of the message under way, and of control frames, which may come in its midst.
    messages: Scrubber,
    controls: Scrubber,
    order: Order,
    incoming: BytesMut,
    /// The frame whose payload is being read.
    frame: Option<Frame>,
    /// What the next frame is written as.
    opcode: Opcode,
}

struct Frame {
    opcode: Opcode,
    is_final: bool,
    left: u64,
}

impl ScrubbedFrames {
    pub fn new(messages: Scrubber, controls: Scrubber) -> Self {
        Self {
            messages,
            controls,
            order: Order::default(),
            incoming: BytesMut::new(),
            frame: None,
            opcode: Opcode::Continuation,
        }
    }

    /// Takes what has arrived, and answers what can be passed on of it and of what arrived before.
    pub fn push(&mut self, arrived: &[u8]) -> Result<Bytes, Malformed> {
        self.incoming.extend_from_slice(arrived);
        let mut passed = BytesMut::new();
        while self.step(&mut passed)? {}
        Ok(passed.freeze())
    }

    /// Whether there was something to do.
    fn step(&mut self, passed: &mut BytesMut) -> Result<bool, Malformed> {
        let Some(frame) = self.frame.take() else { return self.begin() };
        let part = usize::try_from(frame.left).unwrap_or(PART_BYTES).min(PART_BYTES);
        if self.incoming.len() < part {
            self.frame = Some(frame);
            return Ok(false);
        }
        let payload = self.incoming.split_to(part).freeze();
        if frame.opcode.is_control() {
            self.pass_control(frame.opcode, payload, passed);
            return Ok(true);
        }
        let left = frame.left.saturating_sub(u64::try_from(part).unwrap_or(u64::MAX));
        let is_end = left == 0 && frame.is_final;
        self.pass_part(payload, is_end, passed);
        if left > 0 {
            self.frame = Some(Frame { left, ..frame });
        }
        Ok(true)
    }

    fn begin(&mut self) -> Result<bool, Malformed> {
        let Some((head, own_length)) = Head::read(&self.incoming)? else { return Ok(false) };
        if head.mask.is_some() {
            return Err(Malformed("a host's frame is masked"));
        }
        if !head.opcode.is_control() {
            self.order.note(&head)?;
            if head.opcode != Opcode::Continuation {
                self.opcode = head.opcode;
            }
        }
        self.incoming.advance(own_length);
        let Head { opcode, is_final, length: left, .. } = head;
        self.frame = Some(Frame { opcode, is_final, left });
        Ok(true)
    }

    fn pass_part(&mut self, payload: Bytes, is_end: bool, passed: &mut BytesMut) {
        let mut decided = BytesMut::from(self.messages.push(payload));
        if is_end {
            decided.extend_from_slice(&self.messages.finish());
        }
        // Nothing is said by a frame that neither has a payload nor ends its message.
        if is_end || !decided.is_empty() {
            write(passed, is_end, self.opcode, &decided);
            self.opcode = Opcode::Continuation;
        }
    }

    fn pass_control(&mut self, opcode: Opcode, payload: Bytes, passed: &mut BytesMut) {
        let mut scrubbed = BytesMut::from(self.controls.push(payload));
        scrubbed.extend_from_slice(&self.controls.finish());
        if scrubbed.len() > LONGEST_CONTROL {
            scrubbed.truncate(if opcode == Opcode::Close { CLOSE_CODE_BYTES } else { 0 });
        }
        write(passed, true, opcode, &scrubbed);
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use platform_core::credential::InjectionLocation;
    use proptest::prelude::*;

    use super::*;
    use crate::rules::{Injection, Secrets};
    use crate::secrets::{Hosts, NamedSecret, SecretUse, SecretsParts};

    const VALUE: &str = "aba\nbab";

    fn frames() -> ScrubbedFrames {
        let location = InjectionLocation::default();
        let named = NamedSecret {
            name: "TOKEN".to_owned(),
            placeholders: vec!["<>".to_owned()],
            uses: vec![SecretUse { value: VALUE.into(), hosts: Hosts::Every, location }],
        };
        let secrets = Secrets::new(SecretsParts { named: vec![named], ..SecretsParts::default() });
        let host = &"api.test".parse().unwrap();
        let target = Injection { host, port: 443, is_encrypted: true, is_internal: false };
        let (mut head, ()) = Request::get("/").body(()).unwrap().into_parts();
        let injected = secrets.inject(&target, &mut head).unwrap();
        ScrubbedFrames::new(injected.scrubber().unwrap(), injected.scrubber().unwrap())
    }

    /// The messages and the payloads of control frames that frames make.
    fn read(mut frames: &[u8]) -> (Vec<Vec<u8>>, Vec<Vec<u8>>) {
        let (mut messages, mut controls, mut order) = (vec![], vec![], Order::default());
        let mut message = Vec::new();
        while let Some((head, own)) = Head::read(frames).unwrap() {
            let end = own + usize::try_from(head.length).unwrap();
            let payload = &frames[own..end];
            if head.opcode.is_control() {
                controls.push(payload.to_vec());
            } else {
                order.note(&head).unwrap();
                message.extend_from_slice(payload);
                if head.is_final {
                    messages.push(std::mem::take(&mut message));
                }
            }
            frames = &frames[end..];
        }
        assert!(frames.is_empty() && message.is_empty());
        (messages, controls)
    }

    proptest! {
        #[test]
        fn however_messages_are_cut_they_are_scrubbed_as_a_whole(
            messages in prop::collection::vec(prop::collection::vec("[ab\n]{0,12}", 1..5), 1..4),
            ping in prop::option::of(0_usize..4),
            cuts in prop::collection::vec(1_usize..20, 1..20),
        ) {
            let mut sent = BytesMut::new();
            let mut pings = 0;
            for parts in &messages {
                for (index, part) in parts.iter().enumerate() {
                    let opcode = if index == 0 { Opcode::Text } else { Opcode::Continuation };
                    write(&mut sent, index + 1 == parts.len(), opcode, part.as_bytes());
                    if ping == Some(index) {
                        write(&mut sent, true, Opcode::Ping, VALUE.as_bytes());
                        pings += 1;
                    }
                }
            }
            let (mut frames, mut passed) = (frames(), Vec::new());
            for cut in cuts.iter().cycle() {
                if sent.is_empty() {
                    break;
                }
                let piece = sent.split_to((*cut).min(sent.len()));
                passed.extend_from_slice(&frames.push(&piece).unwrap());
            }
            let expected: Vec<Vec<u8>> =
                messages.iter().map(|it| it.concat().replace(VALUE, "<>").into_bytes()).collect();
            prop_assert_eq!(read(&passed), (expected, vec![b"<>".to_vec(); pings]));
        }
    }

    #[test]
    fn a_host_s_frames_are_in_order_and_without_mask() {
        for sent in [
            &[0x82, 0x81, 0, 0, 0, 0, 1][..],
            &[0x80, 0x00],
            &[0x01, 0x00, 0x01, 0x00],
            &[0xc2, 0x01, 0],
        ] {
            assert!(frames().push(sent).is_err(), "{sent:?}");
        }
    }
}
