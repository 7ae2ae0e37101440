#ifndef KERNEL_PROGRAM_VECTOR_CASES_H
#define KERNEL_PROGRAM_VECTOR_CASES_H

/// Compares the vector operations of every supported instruction set with the scalar ones, bit for
/// bit, inputs and outputs against forbidden pages.
void check_vector_operations(void);

#endif
