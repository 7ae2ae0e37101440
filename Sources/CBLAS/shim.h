#ifndef BITPLAN_CBLAS_SHIM_H
#define BITPLAN_CBLAS_SHIM_H
#if __has_include(<cblas-openblas.h>)
#include <cblas-openblas.h>
#else
#include <cblas.h>
#endif
#include <lapacke.h>
#endif
