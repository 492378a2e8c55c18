//! Money: what model calls cost, and how much of it a session or a team may spend.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::wire::InvalidField;

/// An amount in billionths of a US dollar: model prices are given per token, and a token costs less than a cent.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(transparent)]
pub struct NanoDollars(pub u64);

const PER_CENT: u64 = 10_000_000;

impl NanoDollars {
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// Rounded to the nearest billionth; what is no amount is nothing.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range was looked at"
    )]
    pub fn from_dollars(dollars: f64) -> Self {
        let nano = (dollars * 1e9).round();
        if nano.is_finite() && (0.0..9e18).contains(&nano) { Self(nano as u64) } else { Self(0) }
    }
}

impl fmt::Display for NanoDollars {
    /// In dollars, without the zeros at the end: `0.000042`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        let fraction = format!("{rest:09}");
        let fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() {
            write!(formatter, "{whole}")
        } else {
            write!(formatter, "{whole}.{fraction}")
        }
    }
}

/// The wire format's money: minor units (cents) as text, `"2500"` is 25 dollars. Fractions of a cent are ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Money {
    pub amount: String,
    pub currency: String,
}

impl Money {
    /// Rounded up to a whole cent, because clients read an integer.
    pub fn in_cents(amount: NanoDollars) -> Self {
        Self { amount: amount.0.div_ceil(PER_CENT).to_string(), currency: "USD".to_owned() }
    }

    /// As [`Money::in_cents`], with as much of the fraction as there is.
    pub fn exactly(amount: NanoDollars) -> Self {
        let (cents, rest) = (amount.0 / PER_CENT, amount.0 % PER_CENT);
        let fraction = format!("{rest:07}");
        let fraction = fraction.trim_end_matches('0');
        let amount =
            if fraction.is_empty() { cents.to_string() } else { format!("{cents}.{fraction}") };
        Self { amount, currency: "USD".to_owned() }
    }

    fn parse(&self, field: &str) -> Result<NanoDollars, InvalidField> {
        if self.currency != "USD" {
            return Err(InvalidField::new(format!("{field}.currency"), "must be \"USD\""));
        }
        let invalid = || {
            let problem = "is an amount of cents as text, e.g. \"2500\" for 25 dollars";
            InvalidField::new(format!("{field}.amount"), problem)
        };
        let (cents, fraction) = self.amount.split_once('.').unwrap_or((&self.amount, "0"));
        let is_plain = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        if !is_plain(cents) || !is_plain(fraction) || fraction.len() > 7 {
            return Err(invalid());
        }
        let cents: u64 = cents.parse().map_err(|_| invalid())?;
        let fraction: u64 = format!("{fraction:0<7}").parse().map_err(|_| invalid())?;
        let nano = cents.checked_mul(PER_CENT).and_then(|nano| nano.checked_add(fraction));
        nano.map(NanoDollars).ok_or_else(invalid)
    }
}

/// What may be spent at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Budget {
    pub max_cost: NanoDollars,
}

/// A budget as the wire format writes it: `{"type":"limit","max_list_cost":{"amount":"2500","currency":"USD"}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct WireBudget {
    #[serde(rename = "type")]
    pub kind: String,
    pub max_list_cost: Money,
}

impl WireBudget {
    pub fn resolve(&self) -> Result<Budget, InvalidField> {
        if self.kind != "limit" {
            return Err(InvalidField::new("budget.type", "must be \"limit\""));
        }
        let max_cost = self.max_list_cost.parse("budget.max_list_cost")?;
        Ok(Budget { max_cost })
    }
}

impl From<Budget> for WireBudget {
    fn from(budget: Budget) -> Self {
        Self { kind: "limit".to_owned(), max_list_cost: Money::exactly(budget.max_cost) }
    }
}

/// What a session and its team may spend and have spent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allowance {
    pub budget: Option<Budget>,
    pub spent: NanoDollars,
}

impl Allowance {
    pub fn is_used_up(&self) -> bool {
        self.budget.is_some_and(|budget| self.spent >= budget.max_cost)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(amount: &str) -> Result<NanoDollars, InvalidField> {
        Money { amount: amount.to_owned(), currency: "USD".to_owned() }.parse("budget")
    }

    #[test]
    fn an_amount_is_read_in_cents() {
        assert_eq!(read("2500"), Ok(NanoDollars(25_000_000_000)));
        assert_eq!(read("0.05"), Ok(NanoDollars(500_000)));
        for bad in ["", "-1", "1e3", "1.", ".5", "0.12345678", "99999999999999999999"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_amount_is_shown_as_it_is_read() {
        assert_eq!(Money::exactly(NanoDollars(500_000)).amount, "0.05");
        assert_eq!(Money::in_cents(NanoDollars(500_000)).amount, "1");
        assert_eq!(Money::in_cents(NanoDollars(25_000_000_000)).amount, "2500");
        assert_eq!(NanoDollars(42_000).to_string(), "0.000042");
        assert_eq!(NanoDollars::from_dollars(0.000_042), NanoDollars(42_000));
        assert_eq!(NanoDollars::from_dollars(f64::NAN), NanoDollars(0));
    }
}
