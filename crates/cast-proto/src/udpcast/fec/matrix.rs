//! The equations of a stripe: which missing blocks are in which repair block, how often.

use super::{
    Repair, coefficient,
    field::{inverse, product},
};

/// A square matrix over the field, row by row.
pub(super) struct Matrix {
    size: usize,
    cells: Vec<u8>,
}

impl Matrix {
    /// The part of the code's matrix that belongs to those rows and columns.
    pub(super) fn new(repairs: &[Repair], missing: &[u16]) -> Self {
        let mut cells = Vec::with_capacity(repairs.len() * missing.len());
        for repair in repairs {
            cells.extend(missing.iter().map(|index| coefficient(repair.row, *index)));
        }
        Self {
            size: missing.len(),
            cells,
        }
    }

    pub(super) fn at(&self, row: usize, column: usize) -> u8 {
        self.cells
            .get(row * self.size + column)
            .copied()
            .unwrap_or(0)
    }

    fn row_times(&mut self, row: usize, factor: u8) {
        for cell in self.cells.iter_mut().skip(row * self.size).take(self.size) {
            *cell = product(*cell, factor);
        }
    }

    fn add_row(&mut self, to: usize, from: usize, factor: u8) {
        for column in 0..self.size {
            let addend = product(self.at(from, column), factor);
            if let Some(cell) = self.cells.get_mut(to * self.size + column) {
                *cell ^= addend;
            }
        }
    }

    fn swap_rows(&mut self, a: usize, b: usize) {
        for column in 0..self.size {
            self.cells
                .swap(a * self.size + column, b * self.size + column);
        }
    }

    /// Gauss and Jordan; spoils `self`. `None` if two rows are the same repair block.
    pub(super) fn invert(&mut self) -> Option<Self> {
        let size = self.size;
        let mut inverted = Self {
            size,
            cells: vec![0; size * size],
        };
        for i in 0..size {
            *inverted.cells.get_mut(i * size + i)? = 1;
        }
        for column in 0..size {
            let pivot = (column..size).find(|row| self.at(*row, column) != 0)?;
            if pivot != column {
                self.swap_rows(pivot, column);
                inverted.swap_rows(pivot, column);
            }
            let factor = inverse(self.at(column, column));
            self.row_times(column, factor);
            inverted.row_times(column, factor);
            for row in (0..size).filter(|row| *row != column) {
                let factor = self.at(row, column);
                if factor != 0 {
                    self.add_row(row, column, factor);
                    inverted.add_row(row, column, factor);
                }
            }
        }
        Some(inverted)
    }
}
