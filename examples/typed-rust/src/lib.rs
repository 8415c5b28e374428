//! Prices orders. What it exports is said in `wit/invoice.wit`; nothing here knows Tradewind.

use exports::example::invoice::pricing::{Discount, Guest as Pricing, Invoice, Item, Line, Refusal};

wit_bindgen::generate!({ path: "wit", world: "invoices" });

struct Invoices;

export!(Invoices);

impl Pricing for Invoices {
    fn total(items: Vec<Item>, discount: Option<Discount>) -> Result<Invoice, Refusal> {
        if items.is_empty() {
            return Err(Refusal::EmptyOrder);
        }
        let lines = items.iter().map(line).collect::<Result<Vec<_>, _>>()?;
        let sum = lines.iter().try_fold(0u64, |sum, line| sum.checked_add(line.sum)).ok_or(Refusal::TooMuch)?;
        let discount = discount.map_or(Ok(0), |discount| worth(discount, sum, &items))?;
        Ok(Invoice { lines, discount, total: sum - discount })
    }
}

impl Guest for Invoices {
    fn split(sum: u64, parts: u16) -> Vec<u64> {
        let count = u64::from(parts);
        (0..count).map(|part| sum / count + u64::from(part < sum % count)).collect()
    }
}

fn line(item: &Item) -> Result<Line, Refusal> {
    if item.quantity == 0 {
        return Err(Refusal::NothingOf(item.name.clone()));
    }
    let sum = item.price.checked_mul(item.quantity.into()).ok_or(Refusal::TooMuch)?;
    Ok(Line { name: item.name.clone(), sum })
}

/// What a discount takes off `sum`, never more than all of it.
fn worth(discount: Discount, sum: u64, items: &[Item]) -> Result<u64, Refusal> {
    match discount {
        Discount::Percent(percent) if percent <= 100 => {
            let worth = (u128::from(sum) * u128::from(percent)).div_ceil(100);
            Ok(u64::try_from(worth).expect("at most 100 % of the sum"))
        }
        Discount::Amount(amount) if amount <= sum => Ok(amount),
        Discount::FreeItem((every, name)) if every > 0 => {
            let item = items.iter().find(|item| item.name == name).ok_or(Refusal::NotOrdered(name))?;
            Ok(u64::from(item.quantity / every) * item.price)
        }
        impossible => Err(Refusal::NoSuchDiscount(impossible)),
    }
}
