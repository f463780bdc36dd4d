// The files of the live page, as they are in target/control/page/. Embedded when odxd is built. Thread: any.
#pragma once

#include <string_view>

namespace target::control::page {

extern const std::string_view icon_svg, index_html, page_css, page_js, service_js, table_js, words_js;

}  // namespace target::control::page
