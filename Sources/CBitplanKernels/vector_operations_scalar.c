#define BP_VECTOR_TABLE bp_vector_operations_scalar
#include "vector_operations.inc.h"
