//! What is made from `ENCRYPTION_KEY`: sealed values, values that stand in for them, and fingerprints by which they are recognised.
//!
//! Pure but for the random nonces. Nothing here prints a value: `Debug` of everything that holds one shows its name only.

mod fingerprint;
mod key;
mod mark;
mod seal;
mod stand_in;

pub use fingerprint::{Fingerprint, Redacted, Redactor};
pub use key::{EncryptionKey, EncryptionKeys, KeyId, WeakKey};
pub use mark::Marks;
pub use seal::{Binding, OpenError, SealError, Sealed};
pub use stand_in::{HoneyValue, honey_values};
