// The live page: plain files, which hold nothing of the array and so are given to everybody. What the page shows it
// asks for as every client does.
#include "target/control/page_resource.h"

#include "target/control/resources.h"

namespace target::control {
namespace {

/// Nothing but what comes from here is loaded, run or asked; nobody frames the page; no text becomes HTML.
constexpr std::string_view kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

Answer file(std::string_view body, std::string_view content_type) {
  return {.response = {.body = std::string(body),
                       .content_type = std::string(content_type),
                       .headers = {{"Content-Security-Policy", std::string(kPolicy)},
                                   {"Cross-Origin-Opener-Policy", "same-origin"},
                                   {"Cross-Origin-Resource-Policy", "same-origin"},
                                   {"Referrer-Policy", "no-referrer"},
                                   {"X-Content-Type-Options", "nosniff"}}}};
}

constexpr std::string_view kHtml = "text/html; charset=utf-8";
constexpr std::string_view kStyle = "text/css; charset=utf-8";
constexpr std::string_view kScript = "text/javascript; charset=utf-8";
constexpr std::string_view kImage = "image/svg+xml";

template <const std::string_view& kBody, const std::string_view& kType>
Answer serve(Steered&, const Call&) {
  return file(kBody, kType);
}

constexpr Route row(std::string_view path, std::string_view summary, std::string_view content_type,
                    Answer (*handle)(Steered&, const Call&)) {
  return {.path = path, .summary = summary, .handle = handle, .content_type = content_type, .open_to_all = true};
}

constexpr Route kRoutes[] = {
    row("/", "The live page", "text/html", serve<page::index_html, kHtml>),
    row("/page/page.css", "Its style", "text/css", serve<page::page_css, kStyle>),
    row("/page/page.js", "Its program", "text/javascript", serve<page::page_js, kScript>),
    row("/page/service.js", "Its requests", "text/javascript", serve<page::service_js, kScript>),
    row("/page/table.js", "Its tables", "text/javascript", serve<page::table_js, kScript>),
    row("/page/words.js", "Its words", "text/javascript", serve<page::words_js, kScript>),
    row("/page/icon.svg", "Its icon", "image/svg+xml", serve<page::icon_svg, kImage>),
};

}  // namespace

std::span<const Route> page_routes() { return kRoutes; }

}  // namespace target::control
