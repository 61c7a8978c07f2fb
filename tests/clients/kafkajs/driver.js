// Drives kafkajs for the tests: one JSON request a line comes in, one JSON answer a line goes out; a member of a group
// tells its story in lines. Operations and fields are those of harness/drivers.py and harness/members.py. Every
// operation opens its own client, so that each starts with nothing known about the cluster.
'use strict'

const crypto = require('crypto')
const readline = require('readline')
const lz4 = require('lz4-napi')
const zstd = require('@bokuweb/zstd-wasm')
const snappy = require('kafkajs-snappy')
const {
  CompressionCodecs, CompressionTypes, ConfigResourceTypes, IsolationLevel, Kafka, PartitionAssigners, logLevel,
} = require('kafkajs')

const OPERATION_MS_MAX = 60000
// One send of kafkajs is one batch for each partition, so the driver cuts it before the broker's message.max.bytes.
const SEND_BYTES_MAX = 500000

CompressionCodecs[CompressionTypes.Snappy] = snappy
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: encoder => lz4.compressFrame(encoder.buffer),
  decompress: buffer => lz4.decompressFrame(buffer),
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => Buffer.from(zstd.compress(encoder.buffer, 3)),
  decompress: async buffer => Buffer.from(zstd.decompress(buffer)),
})
const CODECS = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD,
}

const open = asked => new Kafka({
  clientId: 'kafkajs',
  brokers: [asked.broker],
  logLevel: logLevel.NOTHING,
  retry: { retries: 5, initialRetryTime: 100 },
})

const bytes = text => text === null ? null : Buffer.from(text, 'base64')
const text = data => data === null || data === undefined ? null : Buffer.from(data).toString('base64')

async function produce(asked) {
  const producer = open(asked).producer({
    idempotent: asked.idempotent, maxInFlightRequests: asked.idempotent ? 1 : null, allowAutoTopicCreation: false,
  })
  await producer.connect()
  try {
    const placed = []
    for (let from = 0; from < asked.records.length;) {
      const sizes = {}
      let to = from
      for (; to < asked.records.length; to++) {
        const { partition, key, value } = asked.records[to]
        const size = (key || '').length + (value || '').length
        if (to > from && (sizes[partition] || 0) + size > SEND_BYTES_MAX) {
          break
        }
        sizes[partition] = (sizes[partition] || 0) + size
      }
      placed.push(...await send(producer, asked, asked.records.slice(from, to)))
      from = to
    }
    return { placed }
  } finally {
    await producer.disconnect()
  }
}

// kafkajs initializes the producer when its first transaction begins: without rounds one is begun and ended, of which
// the broker hears no more. Disconnecting ends no transaction.
async function transact(asked) {
  const producer = open(asked).producer({
    transactionalId: asked.transactional_id, transactionTimeout: asked.timeout_ms, idempotent: true,
    maxInFlightRequests: 1, allowAutoTopicCreation: false,
  })
  await producer.connect()
  try {
    for (const { records, offsets, commit } of asked.rounds.length ? asked.rounds : [{ records: [], commit: false }]) {
      const transaction = await producer.transaction()
      if (records.length) {
        await send(transaction, { topic: asked.topic, acks: -1, codec: 'none' }, records)
      }
      if (offsets) {
        const { group, topic, partition, offset } = offsets
        await transaction.sendOffsets({
          consumerGroupId: group, topics: [{ topic, partitions: [{ partition, offset: String(offset) }] }],
        })
      }
      if (commit === null) {
        return
      }
      await (commit ? transaction.commit() : transaction.abort())
    }
  } finally {
    await producer.disconnect()
  }
}

async function send(producer, asked, records) {
  const answered = await producer.send({
    topic: asked.topic,
    acks: asked.acks,
    compression: CODECS[asked.codec],
    messages: records.map(record => ({
      partition: record.partition,
      timestamp: String(record.timestamp),
      key: bytes(record.key),
      value: bytes(record.value),
      headers: grouped(record.headers),
    })),
  })
  const next = new Map(answered.map(each => [each.partition, BigInt(each.baseOffset || -1)]))
  return records.map(({ partition }) => {
    const offset = next.has(partition) ? next.get(partition) : -1n
    next.set(partition, offset + 1n)
    return [partition, Number(offset)]
  })
}

// kafkajs has an object of headers: those of one name are an array.
function grouped(headers) {
  const names = {}
  for (const { Key, Value } of headers) {
    names[Key] = [...(names[Key] || []), bytes(Value)]
  }
  return Object.fromEntries(Object.entries(names).map(([name, all]) => [name, all.length === 1 ? all[0] : all]))
}

function ungrouped(headers) {
  return Object.entries(headers || {}).flatMap(([Key, values]) =>
    [].concat(values).map(value => ({ Key, Value: text(value) })))
}

// kafkajs reads in groups only: this one has a group of its own, commits nothing, and reads from the start offset to
// what is the end when it begins.
async function consume(asked) {
  const kafka = open(asked)
  const admin = kafka.admin()
  await admin.connect()
  // The last stable offset, whatever is to be read: this has no choice.
  const ends = await admin.fetchTopicOffsets(asked.topic)
  await admin.disconnect()
  const end = Number(ends.find(each => each.partition === asked.partition).high)
  const records = []
  if (asked.start >= end) {
    return { records }
  }
  const consumer = kafka.consumer({
    groupId: `reader-${crypto.randomUUID()}`, maxWaitTimeInMs: 100, readUncommitted: !asked.read_committed,
  })
  await consumer.connect()
  try {
    await consumer.subscribe({ topic: asked.topic, fromBeginning: true })
    await new Promise((resolve, reject) => {
      setTimeout(() => reject(new Error(`${records.length} records read towards ${end}`)), OPERATION_MS_MAX).unref()
      consumer.on(consumer.events.CRASH, event => reject(event.payload.error))
      // Markers and what was aborted count here, and are shown nowhere else.
      consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload: { partition, lastOffset } }) => {
        if (partition === asked.partition && Number(lastOffset) >= end - 1) {
          resolve()
        }
      })
      consumer.run({
        autoCommit: false,
        eachMessage: async ({ partition, message }) => {
          const offset = Number(message.offset)
          if (partition !== asked.partition || offset < asked.start || offset >= end) {
            return
          }
          records.push({
            partition,
            offset,
            timestamp: Number(message.timestamp),
            key: text(message.key),
            value: text(message.value),
            headers: ungrouped(message.headers),
          })
        },
      }).catch(reject)
      consumer.seek({ topic: asked.topic, partition: asked.partition, offset: String(asked.start) })
    })
  } finally {
    await consumer.disconnect()
  }
  return { records }
}

const administration = {
  async list_offset(admin, asked) {
    if (asked.spec === 'timestamp') {
      const found = await admin.fetchTopicOffsetsByTimestamp(asked.topic, asked.timestamp)
      return { offset: Number(found.find(each => each.partition === asked.partition).offset), timestamp: -1 }
    }
    const found = (await admin.fetchTopicOffsets(asked.topic)).find(each => each.partition === asked.partition)
    return { offset: Number(asked.spec === 'earliest' ? found.low : found.high), timestamp: -1 }
  },
  async create_topic(admin, asked) {
    const made = await admin.createTopics({
      waitForLeaders: false,
      topics: [{
        topic: asked.topic,
        numPartitions: asked.partitions,
        replicationFactor: asked.replication,
        configEntries: Object.entries(asked.configs).map(([name, value]) => ({ name, value })),
      }],
    })
    if (!made) {
      // This one refusal kafkajs turns into an answer.
      return { error: 36, message: 'TOPIC_ALREADY_EXISTS' }
    }
  },
  async delete_topic(admin, asked) {
    await admin.deleteTopics({ topics: [asked.topic] })
  },
  async create_partitions(admin, asked) {
    await admin.createPartitions({ topicPartitions: [{ topic: asked.topic, count: asked.partitions }] })
  },
  async describe_topic(admin, asked) {
    const { topics: [found] } = await admin.fetchTopicMetadata({ topics: [asked.topic] })
    return { topic_id: null, partitions: found.partitions.length }
  },
  async list_topics(admin) {
    return { topics: await admin.listTopics() }
  },
  async describe_configs(admin, asked) {
    const { resources: [found] } = await admin.describeConfigs({
      includeSynonyms: false, resources: [{ type: ConfigResourceTypes.TOPIC, name: asked.topic }],
    })
    return { configs: Object.fromEntries(found.configEntries.map(entry => [entry.configName, entry.configValue])) }
  },
}

async function administer(asked) {
  const admin = open(asked).admin()
  await admin.connect()
  try {
    return await administration[asked.operation](admin, asked)
  } finally {
    await admin.disconnect()
  }
}

async function member(asked, leave) {
  let leftToRead = asked.records_max || Infinity
  let owned = null
  const consumer = open(asked).consumer({
    groupId: asked.group,
    partitionAssigners: [PartitionAssigners.roundRobin],
    sessionTimeout: asked.session_ms,
    heartbeatInterval: Math.floor(asked.session_ms / 6),
    rebalanceTimeout: 10000,
    maxWaitTimeInMs: 100,
    metadataMaxAge: 1000,
  })
  consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
    const now = [...(payload.memberAssignment[asked.topic] || [])].sort((one, other) => one - other)
    if (JSON.stringify(now) !== JSON.stringify(owned)) {
      owned = now
      emit({ event: 'assigned', partitions: now })
    }
  })
  await consumer.connect()
  await consumer.subscribe({ topic: asked.topic, fromBeginning: asked.reset === 'earliest' })
  await new Promise((resolve, reject) => {
    leave.then(resolve)
    consumer.on(consumer.events.CRASH, event => event.payload.restart || reject(event.payload.error))
    consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      eachBatch: async ({ batch, resolveOffset, heartbeat, isRunning, isStale }) => {
        if (!isRunning() || isStale()) {
          return
        }
        const read = batch.messages.slice(0, leftToRead)
        leftToRead -= read.length
        if (read.length === 0) {
          return
        }
        emit({
          event: 'records',
          records: read.map(message => [batch.partition, Number(message.offset), message.value.toString()]),
        })
        const last = read[read.length - 1].offset
        resolveOffset(last)
        const next = Number(last) + 1
        try {
          await consumer.commitOffsets([{ topic: batch.topic, partition: batch.partition, offset: String(next) }])
          emit({ event: 'committed', offsets: [[batch.partition, next]] })
        } catch (refused) {
          emit({ event: 'commit_refused', message: String(refused) })
          throw refused
        }
        await heartbeat()
        if (leftToRead === 0) {
          resolve()
        }
      },
    }).catch(reject)
  })
  await consumer.disconnect()
}

// Kafka's error number, from whatever kafkajs has wrapped the answer into; 0 if it is none of the broker's.
function errorCode(thrown) {
  for (let error = thrown; error; error = error.cause || error.originalError || (error.errors || [])[0]) {
    if (error.type && typeof error.code === 'number') {
      return error.code
    }
  }
  return 0
}

function emit(event) {
  process.stdout.write(JSON.stringify(event) + '\n')
}

async function main() {
  await zstd.init()
  const lines = readline.createInterface({ input: process.stdin })[Symbol.asyncIterator]()
  for (let line = await lines.next(); !line.done; line = await lines.next()) {
    const asked = JSON.parse(line.value)
    const perform = { produce, consume, transact, member }[asked.operation] || administer
    let answer
    try {
      answer = await perform(asked, asked.operation === 'member' ? lines.next() : null) || {}
    } catch (thrown) {
      const code = errorCode(thrown)
      answer = code ? { error: code, message: String(thrown) } : { failure: String(thrown.stack || thrown) }
    }
    if (asked.operation === 'member') {
      emit({ event: 'ended', ...answer })
      process.exit(0)
    }
    emit(answer)
  }
}

main()
