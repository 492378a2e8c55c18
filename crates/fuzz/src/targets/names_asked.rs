//! Questions about names (DNS), as any program in a sandbox may send them.

use crate::Target;
use crate::init::outside::target;

pub const TARGET: Target = Target {
    name: "names_asked",
    check: target::check,
    words: &[
        "\x01\0\0\x01\0\0\0\0\0\0",
        "\x07example",
        "\x03com\0",
        "\0\x01\0\x01",
        "\0\x0c\0\x01",
        "\0\x1c\0\x01",
        "\x07in-addr\x04arpa\0",
        "\x09localhost\0",
        "\x030x7",
    ],
};
