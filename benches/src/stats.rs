//! Order statistics of a row's rounds.

#[derive(Clone, Copy, Debug)]
pub struct Summary {
    pub min: f64,
    pub median: f64,
    pub p75: f64,
}

pub fn summary(values: &[f64]) -> Summary {
    Summary {
        min: quantile(values, 0.0),
        median: quantile(values, 0.5),
        p75: quantile(values, 0.75),
    }
}

/// Linear interpolation between the two nearest ranks.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let position = q * last as f64;
    let (low, high) = (position.floor() as usize, position.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (position - low as f64)
}

/// The median of the rounds' own ratios: both values of a round saw the same disturbance, so this is steadier than the ratio of
/// two medians.
pub fn paired_ratio(values: &[f64], reference: &[f64]) -> Option<f64> {
    let ratios: Vec<f64> = values
        .iter()
        .zip(reference)
        .filter(|(_, r)| **r > 0.0)
        .map(|(v, r)| v / r)
        .collect();
    (!ratios.is_empty()).then(|| quantile(&ratios, 0.5))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let s = summary(&[4.0, 1.0, 3.0, 2.0]);
        assert_eq!((s.min, s.median, s.p75), (1.0, 2.5, 3.25));
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn ratios_are_paired_by_round() {
        assert_eq!(
            paired_ratio(&[2.0, 40.0, 3.0], &[1.0, 20.0, 1.0]),
            Some(2.0)
        );
        assert_eq!(paired_ratio(&[1.0], &[0.0]), None);
    }
}
