//! Messages as bytes, so that no other crate needs to name prost.

use prost::Message;

/// The bytes are not a message of the expected type.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("the bytes are not a {expected}")]
pub struct DecodeError {
    expected: &'static str,
    #[source]
    source: prost::DecodeError,
}

pub fn encode<M: Message>(message: &M) -> Vec<u8> {
    message.encode_to_vec()
}

pub fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M, DecodeError> {
    M::decode(bytes).map_err(|source| DecodeError { expected: std::any::type_name::<M>(), source })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::session::{SendEvents, SessionCommand, session_command::Action};

    #[test]
    fn a_message_reads_back_what_was_written() {
        let command = SessionCommand {
            command_id: "01935a7e-7c1b-7e2a-8f00-0123456789ab".to_owned(),
            action: Some(Action::SendEvents(SendEvents { events: b"[]".to_vec() })),
            ..SessionCommand::default()
        };
        assert_eq!(decode::<SessionCommand>(&encode(&command)).unwrap(), command);
    }

    #[test]
    fn a_broken_message_names_what_was_expected() {
        let failure = decode::<SessionCommand>(&[0x0a, 0xff]).unwrap_err();
        assert!(failure.to_string().ends_with("SessionCommand"), "{failure}");
    }
}
