//! A straight line through measured points, to estimate what was not measured.

/// `intercept + slope × x`
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Line {
    pub(crate) intercept: f64,
    pub(crate) slope: f64,
}

impl Line {
    /// The line with the least squares; none through fewer than two different `x`.
    pub(crate) fn fit(points: &[(f64, f64)]) -> Option<Self> {
        let count = u32::try_from(points.len()).ok().filter(|count| *count >= 2).map(f64::from)?;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (middle_x, middle_y) = (mean(|point| point.0), mean(|point| point.1));
        let spread: f64 = points.iter().map(|(x, _)| (x - middle_x).powi(2)).sum();
        let together: f64 = points.iter().map(|(x, y)| (x - middle_x) * (y - middle_y)).sum();
        (spread > 0.0).then(|| {
            let slope = together / spread;
            Self { intercept: middle_y - slope * middle_x, slope }
        })
    }

    pub(crate) fn at(self, x: f64) -> f64 {
        self.intercept + self.slope * x
    }

    /// How far the points are off the line, at most, as a share of the point.
    pub(crate) fn worst(self, points: &[(f64, f64)]) -> f64 {
        points.iter().map(|(x, y)| ((self.at(*x) - y) / y).abs()).fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(left: f64, right: f64) -> bool {
        (left - right).abs() < 1e-9
    }

    #[test]
    fn points_on_a_line_give_that_line() {
        let points = [(250.0, 60.0), (500.0, 70.0), (1000.0, 90.0)];
        let line = Line::fit(&points).unwrap();
        assert!(near(line.intercept, 50.0) && near(line.slope, 0.04), "{line:?}");
        assert!(near(line.at(10_000.0), 450.0));
        assert!(near(line.worst(&points), 0.0));
    }

    #[test]
    fn points_beside_a_line_are_as_far_on_both_sides() {
        let points = [(0.0, 1.0), (1.0, 0.0), (2.0, 1.0), (3.0, 2.0)];
        let line = Line::fit(&points).unwrap();
        assert!(near(line.slope, 0.4) && near(line.intercept, 0.4), "{line:?}");
        assert!(near(Line { intercept: 1.0, slope: 0.0 }.worst(&[(5.0, 2.0), (6.0, 4.0)]), 0.75));
    }

    #[test]
    fn one_place_gives_no_line() {
        assert_eq!(Line::fit(&[]), None);
        assert_eq!(Line::fit(&[(1.0, 1.0)]), None);
        assert_eq!(Line::fit(&[(1.0, 1.0), (1.0, 2.0)]), None);
    }
}
