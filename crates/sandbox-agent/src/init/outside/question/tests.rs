use super::*;

const TYPE_AAAA: u16 = 28;

fn ask(name: &str, kind: u16) -> Vec<u8> {
    let mut message = vec![0xab, 0xcd, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend(written(name));
    message.extend(kind.to_be_bytes());
    message.extend([0, 1]);
    message
}

fn code(answer: &[u8]) -> u8 {
    answer[3] & 0x0f
}

/// The address in an answer that has exactly one.
fn address(answer: &[u8]) -> Ipv4Addr {
    assert_eq!((code(answer), answer[7]), (0, 1));
    let octets: [u8; 4] = answer[answer.len() - 4..].try_into().unwrap();
    octets.into()
}

#[test]
fn a_name_gets_one_address_however_it_is_spelt() {
    let mut names = Names::default();
    let question = ask("Example.COM", TYPE_A);
    let first = answer(&question, &mut names).unwrap();
    assert_eq!(first[..8], [0xab, 0xcd, 0x81, 0x80, 0, 1, 0, 1]);
    assert_eq!(first[12..question.len()], question[12..]);
    let second = answer(&ask("example.com", TYPE_A), &mut names).unwrap();
    assert_eq!(address(&first), address(&second));
    assert_eq!(names.name_of(address(&first)).as_deref(), Some("example.com"));
}

#[test]
fn an_address_gives_its_name_back() {
    let mut names = Names::default();
    let address = names.address_of("a.example");
    let [a, b, c, d] = address.octets();
    let told = answer(&ask(&format!("{d}.{c}.{b}.{a}.in-addr.arpa"), TYPE_PTR), &mut names);
    assert!(told.unwrap().ends_with(&written("a.example")));
    for unknown in ["1.0.0.10.in-addr.arpa", "9.9.19.198.in-addr.arpa", "x.in-addr.arpa"] {
        assert_eq!(code(&answer(&ask(unknown, TYPE_PTR), &mut names).unwrap()), 3, "{unknown}");
    }
}

#[test]
fn of_other_kinds_a_name_has_nothing() {
    let mut names = Names::default();
    for kind in [TYPE_AAAA, 15, 16, 33, 65, 255] {
        let told = answer(&ask("a.example", kind), &mut names).unwrap();
        assert_eq!((code(&told), told[7]), (0, 0), "{kind}");
    }
}

#[test]
fn localhost_is_the_room_itself_and_addresses_are_no_names() {
    let mut names = Names::default();
    for name in ["localhost", "a.localhost"] {
        let told = answer(&ask(name, TYPE_A), &mut names).unwrap();
        assert_eq!(address(&told), Ipv4Addr::LOCALHOST);
    }
    for name in ["2130706433", "127.1", "0x7f.1", "a.0x7f", "x.invalid", "ip6.arpa", "a b.example"]
    {
        let told = answer(&ask(name, TYPE_A), &mut names).unwrap();
        assert_eq!((code(&told), told[7]), (3, 0), "{name}");
    }
    // A line break would end the head of the request to the door.
    assert_eq!(code(&answer(&ask("a\r\nX: y", TYPE_A), &mut names).unwrap()), 3);
}

#[test]
fn what_is_no_single_question_is_refused_or_ignored() {
    let mut names = Names::default();
    let question = ask("a.example", TYPE_A);
    for length in 0..question.len() {
        let told = answer(&question[..length], &mut names);
        assert_eq!(told.map(|told| code(&told)), (length >= HEAD).then_some(1), "{length}");
    }
    let changed = |at: usize, to: u8| {
        let mut message = question.clone();
        message[at] = to;
        message
    };
    assert_eq!(answer(&changed(2, 0x81), &mut names), None, "an answer is not answered");
    assert_eq!(code(&answer(&changed(2, 0x28), &mut names).unwrap()), 4);
    assert_eq!(code(&answer(&changed(5, 2), &mut names).unwrap()), 1);
    assert_eq!(code(&answer(&changed(12, 0xc0), &mut names).unwrap()), 1, "a pointer");
    let last = question.len() - 1;
    assert_eq!(code(&answer(&changed(last, 3), &mut names).unwrap()), 5, "another class");
    let too_long = ask(&["a"; 128].join("."), TYPE_A);
    assert_eq!(code(&answer(&too_long, &mut names).unwrap()), 1);
}
