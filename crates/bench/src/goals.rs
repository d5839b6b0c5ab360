//! What the figures of a comparison must be.

/// A figure and its bound.
struct Goal {
    what: String,
    figure: f64,
    bound: Bound,
}

#[derive(Clone, Copy)]
pub(crate) enum Bound {
    AtLeast(f64),
    Below(f64),
}

/// The goals of one run, as they are measured.
#[derive(Default)]
pub(crate) struct Goals(Vec<Goal>);

impl Goals {
    pub(crate) fn add(&mut self, what: impl Into<String>, figure: f64, bound: Bound) {
        self.0.push(Goal { what: what.into(), figure, bound });
    }

    /// Prints all of them; an error if one is missed.
    pub(crate) fn judge(&self) -> anyhow::Result<()> {
        println!("\n| goal | bound | measured | |");
        println!("|---|---|---|---|");
        let mut missed = 0;
        for Goal { what, figure, bound } in &self.0 {
            let (shown, is_met) = match bound {
                Bound::AtLeast(least) => (format!("at least {least}"), figure >= least),
                Bound::Below(limit) => (format!("below {limit}"), figure < limit),
            };
            missed += usize::from(!is_met);
            println!(
                "| {what} | {shown} | {figure:.2} | {} |",
                if is_met { "met" } else { "MISSED" }
            );
        }
        anyhow::ensure!(missed == 0, "{missed} of {} goals missed", self.0.len());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_missed_goal_is_an_error() {
        let mut goals = Goals::default();
        goals.add("a rate", 2.0, Bound::AtLeast(2.0));
        goals.add("a cost", 0.49, Bound::Below(0.5));
        assert!(goals.judge().is_ok());
        goals.add("nothing was measured", f64::NAN, Bound::Below(1.0));
        goals.add("another cost", 0.5, Bound::Below(0.5));
        assert_eq!(goals.judge().unwrap_err().to_string(), "2 of 4 goals missed");
    }
}
