#include "bitplan_kernels.h"
int bp_placeholder(void) { return 0; }
