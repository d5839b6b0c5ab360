//! In which order the targets of SRV records are to be asked (RFC 2782).

use super::Target;

/// Lower priorities first; among those of one priority each comes first as often as its weight
/// says. `draw` gives a number below the one that it is given, at random.
pub(super) fn arrange(targets: &mut [Target], mut draw: impl FnMut(u32) -> u32) {
    targets.sort_by(|one, other| {
        (one.priority, &one.host, one.port).cmp(&(other.priority, &other.host, other.port))
    });
    for group in targets.chunk_by_mut(|one, other| one.priority == other.priority) {
        let mut rest = group;
        while let Some(first) = chosen(rest, &mut draw) {
            rest.swap(0, first);
            rest = rest.get_mut(1..).unwrap_or_default();
        }
    }
}

/// Which of these comes first; none of none. A weight of zero has a small chance too.
fn chosen(targets: &[Target], draw: &mut impl FnMut(u32) -> u32) -> Option<usize> {
    let share = |target: &Target| u32::from(target.weight).max(1);
    let total: u32 = targets.iter().map(share).sum();
    if targets.len() <= 1 {
        return (!targets.is_empty()).then_some(0);
    }
    let mut left = draw(total);
    let hit = |target: &Target| {
        let is_hit = left < share(target);
        left = left.saturating_sub(share(target));
        is_hit
    };
    targets.iter().position(hit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(host: &str, priority: u16, weight: u16) -> Target {
        Target { secure: false, host: host.to_owned(), port: 1, priority, weight }
    }

    fn arranged(targets: &[Target], draw: impl FnMut(u32) -> u32) -> String {
        let mut targets = targets.to_vec();
        arrange(&mut targets, draw);
        targets.iter().map(|target| target.host.as_str()).collect()
    }

    #[test]
    fn lower_priorities_come_first_whatever_their_weight() {
        let targets = [target("c", 2, 9), target("b", 1, 0), target("a", 0, 1)];
        for draw in [0, 1, 7] {
            assert_eq!(arranged(&targets, |below| draw % below), "abc");
        }
    }

    #[test]
    fn among_equals_the_draw_decides_by_weight() {
        let targets = [target("a", 0, 1), target("b", 0, 2), target("c", 0, 0)];
        // Shares 1, 2, 1: the first draw is of four.
        assert_eq!(arranged(&targets, |_| 0), "abc");
        for (first, expected) in [(1, "bac"), (2, "bac"), (3, "cba")] {
            assert_eq!(arranged(&targets, |below| first * u32::from(below == 4)), expected);
        }
        assert_eq!(arranged(&[], |_| 0), "");
    }

    #[test]
    fn each_comes_first_as_often_as_its_weight_says() {
        let targets = [target("a", 0, 10), target("b", 0, 30)];
        let mut random = fastrand::Rng::with_seed(1);
        let first = |_| arranged(&targets, |below| random.u32(0..below)).starts_with('b');
        let of_b = (0..4_000).map(first).filter(|is_b| *is_b).count();
        assert!((2_800..3_200).contains(&of_b), "{of_b} of 4000");
    }
}
