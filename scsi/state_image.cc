#include "scsi/state_image.h"

#include <fmt/format.h>

#include <cstddef>

#include "base/crc.h"

namespace scsi {
namespace {

struct ImageHead {
  std::array<std::uint8_t, 8> magic{};
  base::be32 version{};
  base::be32 length{};  ///< of the whole image, bytes
};
static_assert(sizeof(ImageHead) == 16 && offsetof(ImageHead, length) == 12);

constexpr std::size_t kChecksum = sizeof(std::uint32_t);

}  // namespace

std::vector<std::uint8_t> state_image(const StateImageKind& kind, base::Bytes content) {
  std::vector<std::uint8_t> image;
  base::ByteWriter writer(image);
  const std::size_t length = sizeof(ImageHead) + content.size() + kChecksum;
  writer.layout(ImageHead{kind.magic, kind.version, static_cast<std::uint32_t>(length)});
  writer.bytes(content);
  writer.u32(base::crc32c(image));
  return image;
}

std::expected<base::Bytes, std::string> state_image_content(const StateImageKind& kind, base::Bytes image) {
  auto wrong = [](std::string what) { return std::unexpected(std::move(what)); };
  if (image.size() < sizeof(ImageHead) + kChecksum) return wrong(fmt::format("{} bytes are too few", image.size()));
  auto head = base::load<ImageHead>(image);
  if (head.magic != kind.magic) return wrong("it does not begin as such a file does");
  if (head.version != kind.version)
    return wrong(fmt::format("version {} is not one this odxd knows", head.version.value()));
  if (head.length != image.size())
    return wrong(fmt::format("it has {} bytes and says it has {}", image.size(), head.length.value()));
  base::ByteReader end(image.last(kChecksum));
  if (end.u32() != base::crc32c(image.first(image.size() - kChecksum))) return wrong("its checksum is wrong");
  return image.subspan(sizeof(ImageHead), image.size() - sizeof(ImageHead) - kChecksum);
}

}  // namespace scsi
