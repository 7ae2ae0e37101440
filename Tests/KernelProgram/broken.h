#ifndef KERNEL_PROGRAM_BROKEN_H
#define KERNEL_PROGRAM_BROKEN_H

/// Runs kernels that are wrong on purpose and returns how many the checks did not notice.
int count_unnoticed(void);

#endif
