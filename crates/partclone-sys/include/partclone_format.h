/*
 * On-disk structures of partclone images, format versions 0001 and 0002.
 *
 * Written from the facts of the format; it shares no text with the program that made it.
 * Every number is little-endian and nothing is aligned, so numbers are arrays of bytes here:
 * the structures have the same layout for every compiler and target. The Rust side gives the
 * le* types their meaning (zerocopy's little-endian integers).
 */
#ifndef FOS_PARTCLONE_FORMAT_H
#define FOS_PARTCLONE_FORMAT_H

#include <stddef.h>
#include <stdint.h>

typedef struct { uint8_t bytes[2]; } le16;
typedef struct { uint8_t bytes[4]; } le32;
typedef struct { uint8_t bytes[4]; } les32;
typedef struct { uint8_t bytes[8]; } le64;

/** First bytes of every image. The NUL behind them is not compared: 0001 has none. */
#define PARTCLONE_MAGIC "partclone-image"
/** Closes a byte-per-block bitmap. */
#define PARTCLONE_BITMAP_MAGIC "BiTmAgIc"
/** Version field of the first format. */
#define PARTCLONE_VERSION_0001 "0001"
/** Version field of the second format. */
#define PARTCLONE_VERSION_0002 "0002"
/** Offset of the version field, the same in both formats. */
#define PARTCLONE_VERSION_OFFSET 30
/** Byte-order marker of a little-endian writer, read as a little-endian number. */
#define PARTCLONE_ENDIAN_MARK 0xC0DE

/** 0002: the strips carry no checksum. */
#define PARTCLONE_CHECKSUM_NONE 0x00
/** 0002: CRC-32 without final inversion, 4 bytes. */
#define PARTCLONE_CHECKSUM_CRC32 0x20
/** 0002: XXH64 with seed 0, 8 bytes, little-endian. */
#define PARTCLONE_CHECKSUM_XXH64 0x30
/** 0002: XXH3 of 128 bits with seed 0, 16 bytes, low half first. */
#define PARTCLONE_CHECKSUM_XXH128 0x31

/** 0002: no bitmap is stored, every block is used. */
#define PARTCLONE_BITMAP_NONE 0
/** 0002: a bit per block, least significant first, closed by a CRC-32. */
#define PARTCLONE_BITMAP_BIT 1
/** 0002: a byte per block, 1 means used, closed by the bitmap magic. */
#define PARTCLONE_BITMAP_BYTE 8

/** Blocks larger than this do not exist in practice; readers refuse them. */
#define PARTCLONE_MAX_BLOCK_SIZE 67108864
/** log2 of the largest block count that readers accept. */
#define PARTCLONE_MAX_BLOCKS_LOG 43

/** Header of format 0001: 4160 octets, no checksum. */
typedef struct __attribute__((packed)) {
    /** `partclone-image`, 15 characters without NUL. */
    uint8_t magic[15];
    /** Name of the file system, NUL-padded; 15 characters have no NUL. */
    uint8_t filesystem[15];
    /** `0001`. */
    uint8_t version[4];
    /** Left over from the writer's memory, may hold anything. */
    uint8_t padding[2];
    /** Bytes per block, signed. */
    les32 block_size;
    /** Bytes of the source device. Not to be trusted: some writers got it wrong. */
    le64 device_size;
    /** Blocks of the file system, used or not. */
    le64 total_blocks;
    /** Used blocks as the super block counts them; the bitmap may disagree. */
    le64 used_blocks;
    /** Unused. */
    uint8_t reserved[4096];
} partclone_header_0001;

/** Header of format 0002: 110 octets, ending in the CRC-32 of the 106 before it. */
typedef struct __attribute__((packed)) {
    /** `partclone-image` and a NUL, of which 15 characters are compared. */
    uint8_t magic[16];
    /** Version of the program that wrote the image, NUL-padded. */
    uint8_t writer[14];
    /** `0002`. */
    uint8_t version[4];
    /** `PARTCLONE_ENDIAN_MARK`. */
    le16 endian_mark;
    /** Name of the file system, NUL-padded; 16 characters have no NUL. */
    uint8_t filesystem[16];
    /** Bytes of the source device, at least `total_blocks` times `block_size`. */
    le64 device_size;
    /** Blocks of the file system, used or not. */
    le64 total_blocks;
    /** Used blocks as the super block counts them; may be anything. */
    le64 used_blocks_super;
    /** Used blocks as the writer counted them in the bitmap. */
    le64 used_blocks_bitmap;
    /** Bytes per block. */
    le32 block_size;
    /** Bytes of the feature section: 18. Readers ignore it. */
    le32 feature_size;
    /** The version once more, as a number: 2. Readers ignore it. */
    le16 image_version;
    /** 32 or 64, the word size of the writer. Readers ignore it. */
    le16 cpu_bits;
    /** One of `PARTCLONE_CHECKSUM_*`. */
    le16 checksum_mode;
    /** Bytes per checksum. */
    le16 checksum_size;
    /** Used blocks under one checksum (a strip). */
    le32 blocks_per_checksum;
    /** Not 0: the checksum starts afresh for each strip. */
    uint8_t reseed;
    /** One of `PARTCLONE_BITMAP_*`. */
    uint8_t bitmap_mode;
    /** CRC-32 without final inversion of everything before. */
    le32 crc;
} partclone_header_0002;

_Static_assert(sizeof(partclone_header_0001) == 4160, "0001 header");
_Static_assert(offsetof(partclone_header_0001, version) == PARTCLONE_VERSION_OFFSET, "0001 version");
_Static_assert(offsetof(partclone_header_0001, block_size) == 36, "0001 block size");
_Static_assert(sizeof(partclone_header_0002) == 110, "0002 header");
_Static_assert(offsetof(partclone_header_0002, version) == PARTCLONE_VERSION_OFFSET, "0002 version");
_Static_assert(offsetof(partclone_header_0002, crc) == 106, "0002 CRC");

#endif
