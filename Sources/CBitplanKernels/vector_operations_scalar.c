#define BP_VECTOR_TABLE bp_vector_operations_scalar
#define BP_VECTOR_TILE 1
#include "vector_operations.inc.h"
