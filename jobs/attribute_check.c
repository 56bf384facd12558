#include "jobs/attribute.h"
dtx_status dtx_attribute_check(attribution *g)
{
    (void)g;
    return DTX_OK;
}
